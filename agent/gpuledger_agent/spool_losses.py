"""What a spool has lost and not told yet."""

from __future__ import annotations

from collections.abc import Iterable

from gpuledger_agent.gaps import Gap, GapReason, gaps_of, merged
from gpuledger_agent.spool_entry import Entry
from gpuledger_proto.v1 import telemetry_pb2 as wire


class Losses:
    """Gaps, until they are told. Used by one thread at a time.

    `rows` counts what was given up since the spool was opened. `earlier_until` is the end of what
    an earlier run wrote, seconds since the epoch; None while nobody could read it, 0 if there was
    none.
    """

    def __init__(self, max_age_s: int) -> None:
        self._max_age_s = max_age_s
        self._gaps: list[Gap] = []
        self._begins: int | None = None
        self.earlier_until: int | None = None
        self.rows = 0

    def add(self, gap: Gap) -> None:
        """Windows are missing."""
        self._gaps.append(gap)

    def give_up(self, entry: Entry, reason: GapReason) -> None:
        """This batch goes; gaps that it was to tell of are told again."""
        # What a damaged batch had to tell nobody knows.
        inner = gaps_of(wire.Batch.FromString(entry.body)) if entry.sound else []
        rows = entry.rows - len(inner)
        if rows:
            self.add(Gap(entry.first, entry.last, rows, reason))
        # A gap that was refused would be so again, once a minute.
        if reason is not GapReason.REFUSED:
            self._gaps += inner
            self.rows += rows

    def begin(self, start: int) -> None:
        """The windows of this run begin here: what lies between an earlier run and them is lost."""
        self._begins = start
        self._note_absence()

    def inherit(self, gaps: Iterable[Gap], until: int) -> None:
        """What earlier runs left to tell, and until when they wrote; once."""
        self._gaps += gaps
        self.earlier_until = until
        self._note_absence()

    def pending(self) -> list[Gap]:
        """What is to be told."""
        self._gaps = merged(self._gaps)
        return self._gaps

    def take(self) -> list[Gap]:
        """What is to be told, which is then told."""
        taken, self._gaps = self.pending(), []
        return taken

    def _note_absence(self) -> None:
        if self.earlier_until is None or self._begins is None:
            return
        start, self._begins = self._begins, None
        since = max(self.earlier_until, start - self._max_age_s)
        if self.earlier_until and since < start:
            self.add(Gap(since, start, 0, GapReason.STOPPED))
