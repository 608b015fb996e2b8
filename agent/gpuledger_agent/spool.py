"""Batches on disk from the moment they are made until a collector has acknowledged them."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from gpuledger_agent.clock import STALL_S
from gpuledger_agent.gaps import Gap, GapReason, gap_batches
from gpuledger_agent.log import Once
from gpuledger_agent.spool_entry import Entry
from gpuledger_agent.spool_file import SpoolFile, Unreadable, must_reopen, passes
from gpuledger_agent.spool_lock import SpoolLock
from gpuledger_agent.spool_losses import Losses
from gpuledger_agent.spool_pending import Pending
from gpuledger_agent.spool_repair import mend, opened, take_place
from gpuledger_agent.spool_state import SpoolState, refusal
from gpuledger_proto.v1 import telemetry_pb2 as wire

log = logging.getLogger(__name__)

MEMORY_BYTES = 16 << 20
"""What is held in memory while the disk takes nothing; beyond it the oldest goes."""

MAX_AGE_S = 12 * 86_400
"""Older windows are given up: a collector takes none older than 13 days (docs/collector.md)."""


class Spool:
    """A bounded first-in first-out log in one SQLite file. Used by several threads.

    A batch survives kill -9 once `append` has returned, as long as the disk takes it; while it does
    not, batches wait in memory. When more than `max_bytes` wait, or some for longer than
    `max_age_s`, the oldest go first. Whatever is lost is remembered as a gap until `tell_gaps`.
    """

    def __init__(
        self, path: Path | None, max_bytes: int = 1 << 30, max_age_s: int = MAX_AGE_S
    ) -> None:
        """Open the file, or with None a spool in memory. Raises SpoolError."""
        self._path = path
        self.max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._lock = threading.RLock()
        self._once = Once(log)
        self.appended = threading.Condition()
        self._pending = Pending()
        self._losses = Losses(max_age_s)
        self._file: SpoolFile | None = None
        self._writable = True
        self._count = self._bytes = self._until = 0
        self.newest = 0
        """Sequence of the batch appended last."""
        self.opened = 0
        """How often the file was opened: what waits in it is in the queue again."""
        self._owned = SpoolLock(path)
        try:
            self._open()
        except Unreadable as error:
            self._trouble(error)
        except (sqlite3.Error, OSError) as error:
            if not passes(error, path):
                self.close()
                raise refusal(path, error) from error
            # Beyond any in the file, which may open later.
            self.newest = time.time_ns()
            self._trouble(error)

    def append(self, batches: list[wire.Batch], written_until: int) -> None:
        """Keep these batches, whose windows of GPUs end no later than `written_until`; 0: none."""
        with self._lock:
            # A clock that was set back for good takes it along: else what is new would be too old.
            set_back = 0 < written_until < self._until - STALL_S
            self._until = written_until if set_back else max(self._until, written_until)
            for batch in batches:
                self.newest += 1
                entry = Entry.of(self.newest, batch, written_until)
                self._pending.add(entry)
                self._count += 1
                self._bytes += len(entry.body)
            self._make_room()
            self._save()
        with self.appended:
            self.appended.notify_all()

    def after(self, sequence: int, limit: int) -> list[wire.Batch]:
        """Up to `limit` batches that follow this sequence, oldest first."""
        with self._lock:
            found = self._entries(sequence, limit)
        return [entry.batch() for entry in found]

    def forget(self, sequences: Iterable[int]) -> None:
        """Delete batches that a collector has acknowledged."""
        with self._lock:
            self._remove(sequences)

    def set_aside(self, sequence: int, reason: str) -> None:
        """Take a batch that a collector will never accept out of the queue, but keep it."""
        with self._lock:
            found = self._entries(sequence - 1, 1)
            for entry in [entry for entry in found if entry.sequence == sequence]:
                try:
                    if self._file is not None:
                        self._file.keep_refused(entry, reason)
                except (sqlite3.Error, Unreadable) as error:
                    self._trouble(error)
                self._give_up(entry, GapReason.REFUSED)
            self._save()

    def begin(self, start: int) -> None:
        """The windows of this run, which are appended next, begin here; none lie before.

        From what an earlier run wrote up to here they are missing: noted as soon as the file tells.
        """
        with self._lock:
            self._losses.begin(start)

    def tell_gaps(self) -> None:
        """Put what was lost so far into batches of its own, for a collector to hear of."""
        with self._lock:
            if gaps := self._losses.take():
                self.append(gap_batches(gaps), self._until)

    def written_until(self) -> int:
        """End of the last window appended, seconds since the epoch; 0 in a new spool."""
        return self._until

    @property
    def earlier_until(self) -> int | None:
        """End of what an earlier run wrote, seconds since the epoch; 0 in a new spool.

        None while the file has never opened.
        """
        return self._losses.earlier_until

    def state(self) -> SpoolState:
        """What waits, and what was lost."""
        return SpoolState(self._count, self._bytes, self._losses.rows, self._writable)

    def close(self) -> None:
        """Close the file; batches stay in it."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._owned.release()

    # Whoever calls what follows holds the lock.

    def _open(self) -> SpoolFile:
        """Open the file and count what is there. Raises sqlite3.Error, OSError or Unreadable."""
        self._owned.take()
        file = self._file = opened(self._path)
        waiting, size = file.size()
        self._count, self._bytes = waiting + len(self._pending), size + self._pending.bytes
        self.newest = max(self.newest, file.newest())
        self._until = max(self._until, file.written_until())
        self.opened += 1
        if self.earlier_until is None:
            self._losses.inherit(file.gaps(), file.written_until())
        return file

    def _save(self) -> None:
        """Move what is in memory to the disk, with what goes along; later, if it fails now."""
        try:
            file = self._file or self._open()
            forgotten = self._pending.forgotten
            gone = forgotten | self._pending.dropped
            gaps = self._losses.pending()
            sizes = file.save(self._pending.after(0), gone, gaps, self._until)
        except (sqlite3.Error, OSError, Unreadable) as error:
            self._trouble(error)
            return
        self._uncount(size for sequence, size in sizes.items() if sequence in forgotten)
        self._pending.done()
        self._writable = True
        self._once.over("disk", "event=spool_writable")

    def _entries(self, sequence: int, limit: int) -> list[Entry]:
        """Up to `limit` entries that follow this sequence, oldest first."""
        pending, found = self._pending, list[Entry]()
        try:
            while self._file is not None and len(found) < limit:
                read = self._file.after(sequence, limit)
                found += [e for e in read if not pending.deletes(e.sequence) and self._sound(e)]
                if len(read) < limit:
                    break
                sequence = read[-1].sequence
        except (sqlite3.Error, Unreadable) as error:
            self._trouble(error)
        return (found + pending.after(sequence))[:limit]

    def _sound(self, entry: Entry) -> bool:
        """Whether the entry is as it was written; if not, it is lost."""
        if not entry.sound:
            log.error("event=spool_damaged sequence=%d rows=%d lost", entry.sequence, entry.rows)
            self._give_up(entry, GapReason.CORRUPT)
        return entry.sound

    def _remove(self, sequences: Iterable[int]) -> None:
        gone = {sequence for sequence in sequences if not self._pending.deletes(sequence)}
        in_memory = [entry for n in gone if (entry := self._pending.pop(n)) is not None]
        self._uncount(len(entry.body) for entry in in_memory)
        gone -= {entry.sequence for entry in in_memory}
        try:
            if self._file is None:
                self._pending.forgotten |= gone
            elif gone:
                self._uncount(self._file.delete(gone).values())
                if not self._count:
                    self._file.shrink()
        except (sqlite3.Error, Unreadable) as error:
            # They are deleted with the next save that works, and not sent before.
            self._pending.forgotten |= gone
            self._trouble(error)

    def _uncount(self, sizes: Iterable[int]) -> None:
        for size in sizes:
            self._count -= 1
            self._bytes -= size

    def _give_up(self, entry: Entry, reason: GapReason) -> None:
        """Take a batch out; it is deleted with the save that also says what was lost."""
        self._losses.give_up(entry, reason)
        self._uncount([len(entry.body)])
        if self._pending.pop(entry.sequence) is None:
            self._pending.dropped.add(entry.sequence)

    def _make_room(self) -> None:
        """Drop the oldest batches, as many as it takes."""
        full = "event=spool_full max_bytes=%d oldest windows are dropped"
        if self._drop_while(lambda _: self._bytes > self.max_bytes, GapReason.SPOOL_FULL):
            self._once.warning("full", full, self.max_bytes)
        oldest = self._until - self._max_age_s
        if self._drop_while(lambda entry: entry.last < oldest, GapReason.SPOOL_AGE):
            self._once.warning("age", "event=spool_old windows too old for the books are dropped")
        if not self._writable:
            while self._pending.bytes > MEMORY_BYTES:
                entry = self._pending.after(0)[0]
                self._give_up(entry, GapReason.DISK)
                self._once.warning("memory", full, MEMORY_BYTES)
        if self._bytes < self.max_bytes // 2:
            self._once.over("full", "event=spool_drained")

    def _drop_while(self, excess: Callable[[Entry], bool], reason: GapReason) -> int:
        """Drop the oldest batch for as long as it is in excess; return how many went."""
        dropped = sequence = 0
        while (found := self._entries(sequence, 1)) and excess(found[0]):
            self._give_up(found[0], reason)
            dropped, sequence = dropped + 1, found[0].sequence
        return dropped

    def _trouble(self, error: Exception) -> None:
        """Go on without the disk until it works again; with another file if this one is broken."""
        try:
            if isinstance(error, Unreadable):
                self._replace_file(str(error))
                return
        except (sqlite3.Error, OSError, Unreadable) as again:
            error = again
        if must_reopen(error):
            self._let_go()
        self._writable = False
        self._once.warning(
            "disk",
            "event=spool_write_failed reason=%r windows wait in memory, up to %d MiB",
            *(str(error), MEMORY_BYTES >> 20),
        )

    def _let_go(self) -> None:
        """Close the file; the next save opens it afresh."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _replace_file(self, reason: str) -> None:
        """Set a damaged file aside, and begin another with what can be read of it."""
        self._let_go()
        if self._path is None:
            raise Unreadable(reason)
        first = self.earlier_until is None
        pending = self._pending
        file, saved = mend(
            self._path, lambda n: not pending.deletes(n) and n not in pending, inherit=first
        )
        try:
            if first:
                self._losses.inherit(file.gaps(), file.written_until())
            self._until = max(self._until, file.written_until())
            self._losses.add(Gap(self._until, self._until, 0, GapReason.CORRUPT))
            file.save(pending.after(0), (), self._losses.pending(), self._until)
        finally:
            file.close()
        aside = take_place(self._path)
        pending.done()
        log.error(
            "event=spool_damaged reason=%r saved=%d set_aside=%s remedy=%r",
            *(reason, saved, aside, "check the disk; the file set aside is for a human"),
        )
        self._open()
        self._writable = True
