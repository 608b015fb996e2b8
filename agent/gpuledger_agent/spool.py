"""Batches on disk from the moment they are made until a collector has acknowledged them."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from gpuledger_agent.encode import row_count, span
from gpuledger_agent.gaps import Gap, GapReason, gap_batches, gaps_of, merged
from gpuledger_agent.log import Once
from gpuledger_agent.spool_file import (
    Entry,
    SpoolFile,
    Unreadable,
    heritage,
    must_reopen,
    passes,
    salvage,
    set_aside,
)
from gpuledger_agent.spool_lock import SpoolInUse, SpoolLock
from gpuledger_proto.v1 import telemetry_pb2 as wire

log = logging.getLogger(__name__)

MEMORY_BYTES = 16 << 20
"""What is held in memory while the disk takes nothing; beyond it the oldest goes."""

MAX_AGE_S = 12 * 86_400
"""Older windows are given up: a collector takes none older than 13 days (docs/collector.md)."""


class SpoolError(Exception):
    """The spool cannot be opened; says where and what to do in one line."""


@dataclass(frozen=True, slots=True)
class SpoolState:
    """What waits in the spool, and what it had to give up since it was opened.

    `on_disk` is False while the disk takes nothing and batches wait in memory.
    """

    batches: int
    bytes: int
    rows_dropped: int
    on_disk: bool = True


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
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._lock = threading.RLock()
        self._once = Once(log)
        self.appended = threading.Condition()
        self._memory: OrderedDict[int, Entry] = OrderedDict()
        self._forgotten: set[int] = set()
        self._dropped: set[int] = set()
        self._gaps: list[Gap] = []
        self._rows_dropped = 0
        self._file: SpoolFile | None = None
        self._writable = True
        self._count = self._bytes = self._until = 0
        self.newest = 0
        """Sequence of the batch appended last."""
        self.opened = 0
        """How often the file was opened: what waits in it is in the queue again."""
        self.earlier_until: int | None = None
        """End of what an earlier run wrote, seconds since the epoch; None while the file has never
        opened, 0 in a new spool."""
        self._begins: int | None = None
        self._owned = None if path is None else SpoolLock(path)
        try:
            self._open()
        except SpoolInUse as error:
            raise SpoolError(
                f"spool {path}: {error};"
                " stop that one, or give this one a file of its own (--spool)"
            ) from error
        except Unreadable as error:
            self._trouble(error)
        except (sqlite3.Error, OSError) as error:
            if not passes(error, path):
                self.close()
                raise SpoolError(
                    f"spool {path}: {error}; give the agent a directory it can write (--spool)"
                ) from error
            # Beyond any in the file, which may open later.
            self.newest = time.time_ns()
            self._trouble(error)

    def append(self, batches: list[wire.Batch], written_until: int) -> None:
        """Keep these batches, whose windows of GPUs end no later than `written_until`; 0: none."""
        with self._lock:
            self._until = max(self._until, written_until)
            for batch in batches:
                self.newest += 1
                first, last = span(batch) or (written_until, written_until)
                body = batch.SerializeToString()
                entry = Entry(self.newest, first, last, row_count(batch), crc32(body), body)
                self._memory[self.newest] = entry
                self._count += 1
                self._bytes += len(body)
            self._make_room()
            self._save()
        with self.appended:
            self.appended.notify_all()

    def after(self, sequence: int, limit: int) -> list[wire.Batch]:
        """Up to `limit` batches that follow this sequence, oldest first."""
        with self._lock:
            found = self._entries(sequence, limit)
        return [_load(entry) for entry in found]

    def forget(self, sequences: Iterable[int]) -> None:
        """Delete batches that a collector has acknowledged."""
        with self._lock:
            self._remove(sequences)

    def set_aside(self, sequence: int, reason: str) -> None:
        """Take a batch that a collector will never accept out of the queue, but keep it."""
        with self._lock:
            for entry in self._entries(sequence - 1, 1):
                if entry.sequence != sequence:
                    continue
                self._note(entry, GapReason.REFUSED)
                try:
                    if self._file is not None:
                        self._file.keep_refused(entry, reason)
                except (sqlite3.Error, Unreadable) as error:
                    self._trouble(error)
                self._drop(entry)
            self._save()

    def begin(self, start: int) -> None:
        """The windows of this run, which are appended next, begin here; none lie before.

        From what an earlier run wrote up to here they are missing: noted as soon as the file tells.
        """
        with self._lock:
            self._begins = start
            self._note_absence()

    def lost(self, gap: Gap) -> None:
        """Remember that windows are missing."""
        with self._lock:
            self._gaps.append(gap)
            self._save()

    def tell_gaps(self) -> None:
        """Put what was lost so far into batches of its own, for a collector to hear of."""
        with self._lock:
            gaps, self._gaps = self._gaps, []
            if gaps:
                self.append(gap_batches(gaps), self._until)

    def written_until(self) -> int:
        """End of the last window ever appended, seconds since the epoch; 0 in a new spool."""
        return self._until

    def state(self) -> SpoolState:
        """What waits, and what was lost."""
        return SpoolState(self._count, self._bytes, self._rows_dropped, self._writable)

    def close(self) -> None:
        """Close the file; batches stay in it."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            if self._owned is not None:
                self._owned.release()

    # Whoever calls what follows holds the lock.

    def _open(self) -> SpoolFile:
        """Open the file and count what is there. Raises sqlite3.Error, OSError or Unreadable."""
        if self._owned is not None:
            self._owned.take()
        file = self._file = SpoolFile(self._path)
        waiting, size = file.size()
        self._count = waiting + len(self._memory)
        self._bytes = size + self._memory_bytes()
        self.newest = max(self.newest, file.newest())
        self._until = max(self._until, file.written_until())
        self.opened += 1
        if self.earlier_until is None:
            self._inherit(file)
        return file

    def _inherit(self, file: SpoolFile) -> None:
        """Learn once what earlier runs left to tell."""
        self._gaps += file.gaps()
        self.earlier_until = file.written_until()
        self._note_absence()

    def _note_absence(self) -> None:
        if self.earlier_until is None or self._begins is None:
            return
        start, self._begins = self._begins, None
        since = max(self.earlier_until, start - self._max_age_s)
        if self.earlier_until and since < start:
            self._gaps.append(Gap(since, start, 0, GapReason.STOPPED))

    def _save(self) -> None:
        """Move what is in memory to the disk, with what goes along; later, if it fails now."""
        try:
            file = self._file or self._open()
            self._gaps = merged(self._gaps)
            gone = self._forgotten | self._dropped
            sizes = file.save(self._memory.values(), gone, self._gaps, self._until)
        except (sqlite3.Error, OSError, Unreadable) as error:
            self._trouble(error)
            return
        self._uncount(size for sequence, size in sizes.items() if sequence in self._forgotten)
        self._memory.clear()
        self._forgotten.clear()
        self._dropped.clear()
        self._writable = True
        self._once.over("disk", "event=spool_writable")

    def _entries(self, sequence: int, limit: int) -> list[Entry]:
        """Up to `limit` entries that follow this sequence, oldest first."""
        found: list[Entry] = []
        try:
            while self._file is not None and len(found) < limit:
                read = self._file.after(sequence, limit)
                found += [e for e in read if not self._is_gone(e.sequence) and self._sound(e)]
                if len(read) < limit:
                    break
                sequence = read[-1].sequence
        except (sqlite3.Error, Unreadable) as error:
            self._trouble(error)
        found += [e for e in self._memory.values() if e.sequence > sequence]
        return found[:limit]

    def _sound(self, entry: Entry) -> bool:
        """Whether the entry is as it was written; if not, it is lost."""
        if not entry.sound:
            log.error("event=spool_damaged sequence=%d rows=%d lost", entry.sequence, entry.rows)
            self._rows_dropped += entry.rows
            self._gaps.append(Gap(entry.first, entry.last, entry.rows, GapReason.CORRUPT))
            self._drop(entry)
        return entry.sound

    def _remove(self, sequences: Iterable[int]) -> None:
        gone = {sequence for sequence in sequences if not self._is_gone(sequence)}
        in_memory = gone & self._memory.keys()
        self._uncount(len(self._memory.pop(sequence).body) for sequence in in_memory)
        gone -= in_memory
        try:
            if self._file is None:
                self._forgotten |= gone
            elif gone:
                self._uncount(self._file.delete(gone).values())
                if not self._count:
                    self._file.shrink()
        except (sqlite3.Error, Unreadable) as error:
            # They are deleted with the next save that works, and not sent before.
            self._forgotten |= gone
            self._trouble(error)

    def _is_gone(self, sequence: int) -> bool:
        return sequence in self._forgotten or sequence in self._dropped

    def _uncount(self, sizes: Iterable[int]) -> None:
        for size in sizes:
            self._count -= 1
            self._bytes -= size

    def _drop(self, entry: Entry) -> None:
        """Take a batch out; it is deleted with the save that also says what was lost."""
        self._uncount([len(entry.body)])
        if self._memory.pop(entry.sequence, None) is None:
            self._dropped.add(entry.sequence)

    def _make_room(self) -> None:
        """Drop the oldest batches, as many as it takes."""
        full = "event=spool_full max_bytes=%d oldest windows are dropped"
        if self._drop_while(lambda _: self._bytes > self._max_bytes, GapReason.SPOOL_FULL):
            self._once.warning("full", full, self._max_bytes)
        oldest = self._until - self._max_age_s
        if self._drop_while(lambda entry: entry.last < oldest, GapReason.SPOOL_AGE):
            self._once.warning("age", "event=spool_old windows too old for the books are dropped")
        if not self._writable:
            while self._memory_bytes() > MEMORY_BYTES:
                entry = next(iter(self._memory.values()))
                self._note(entry, GapReason.DISK)
                self._drop(entry)
                self._once.warning("memory", full, MEMORY_BYTES)
        if self._bytes < self._max_bytes // 2:
            self._once.over("full", "event=spool_drained")

    def _drop_while(self, excess: Callable[[Entry], bool], reason: GapReason) -> int:
        """Drop the oldest batch for as long as it is in excess; return how many went."""
        dropped = sequence = 0
        while found := self._entries(sequence, 1):
            [entry] = found
            if not excess(entry):
                break
            self._note(entry, reason)
            self._drop(entry)
            dropped, sequence = dropped + 1, entry.sequence
        return dropped

    def _note(self, entry: Entry, reason: GapReason) -> None:
        """Remember what goes with a batch; gaps that it was to tell of are told again."""
        inner = gaps_of(wire.Batch.FromString(entry.body))
        rows = entry.rows - len(inner)
        if rows:
            self._gaps.append(Gap(entry.first, entry.last, rows, reason))
        # A gap that was refused would be so again, once a minute.
        if reason is not GapReason.REFUSED:
            self._gaps += inner
            self._rows_dropped += rows

    def _memory_bytes(self) -> int:
        return sum(len(entry.body) for entry in self._memory.values())

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
        aside = set_aside(self._path)
        file = SpoolFile(self._path)
        saved = 0
        for entry in salvage(aside):
            if not self._is_gone(entry.sequence) and entry.sequence not in self._memory:
                file.save([entry], (), (), entry.last)
                saved += 1
        log.error(
            "event=spool_damaged reason=%r saved=%d set_aside=%s remedy=%r",
            *(reason, saved, aside, "check the disk; the file set aside is for a human"),
        )
        self._forgotten.clear()
        self._dropped.clear()
        if self.earlier_until is None:
            file.save((), (), *heritage(aside))
            self._inherit(file)
        self._until = max(self._until, file.written_until())
        self._gaps.append(Gap(self._until, self._until, 0, GapReason.CORRUPT))
        file.save(self._memory.values(), (), merged(self._gaps), self._until)
        file.close()
        self._memory.clear()
        self._open()
        self._writable = True


def _load(entry: Entry) -> wire.Batch:
    batch = wire.Batch.FromString(entry.body)
    batch.sequence = entry.sequence
    return batch
