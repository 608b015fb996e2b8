"""Batches on disk from the moment they are made until a collector has acknowledged them."""

from __future__ import annotations

import logging
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from gpuledger_agent.encode import row_count
from gpuledger_agent.log import Once
from gpuledger_proto.v1 import telemetry_pb2 as wire

log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batch (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    rows INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS refused (
    sequence INTEGER PRIMARY KEY,
    reason TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""

REFUSED_KEPT = 100
"""Refused batches that are kept for a human to look at; older ones go."""


class SpoolError(Exception):
    """The spool cannot be opened; says where and what to do in one line."""


@dataclass(frozen=True, slots=True)
class SpoolState:
    """What waits in the spool, and what it had to give up since it was opened."""

    batches: int
    bytes: int
    rows_dropped: int


class Spool:
    """A bounded first-in first-out log in one SQLite file. Used by several threads.

    A batch survives kill -9 once `append` has returned. When more than `max_bytes` wait, the
    oldest batches go first and their rows are counted in `rows_dropped`.
    """

    def __init__(self, path: Path | None, max_bytes: int = 1 << 30) -> None:
        """Open the file, or with None a spool in memory. Raises SpoolError."""
        self._lock = threading.Lock()
        self._max_bytes = max_bytes
        self._rows_dropped = 0
        self._once = Once(log)
        self.appended = threading.Condition()
        try:
            self._db = _connect(path)
        except (sqlite3.Error, OSError) as error:
            raise SpoolError(
                f"spool {path}: {error}; give the agent a directory it can write (--spool)"
            ) from error
        self._count, self._bytes = self._db.execute(
            "SELECT count(*), ifnull(sum(length(body)), 0) FROM batch"
        ).fetchone()
        self.newest: int = self._db.execute(
            "SELECT ifnull(max(sequence), 0) FROM batch"
        ).fetchone()[0]
        """Sequence of the batch appended last."""

    def append(self, batches: list[wire.Batch], written_until: int) -> None:
        """Keep these batches, which hold windows that end no later than `written_until`.

        What cannot be written (disk full) is logged, counted in `rows_dropped` and given up.
        """
        rows = [(row_count(b), b.SerializeToString()) for b in batches]
        with self._lock:
            try:
                self._insert(rows, written_until)
                self._once.over("write", "event=spool_writable")
            except sqlite3.Error as error:
                self._rows_dropped += sum(count for count, _ in rows)
                self._once.warning("write", "event=spool_write_failed reason=%r", str(error))
            self._make_room()
        with self.appended:
            self.appended.notify_all()

    def after(self, sequence: int, limit: int) -> list[wire.Batch]:
        """Up to `limit` batches that follow this sequence, oldest first."""
        with self._lock:
            found = self._db.execute(
                "SELECT sequence, body FROM batch WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (sequence, limit),
            ).fetchall()
        return [_load(number, body) for number, body in found]

    def forget(self, sequences: list[int]) -> None:
        """Delete batches that a collector has acknowledged."""
        with self._lock, self._db:
            self._delete("sequence IN (SELECT value FROM json_each(?))", (str(list(sequences)),))

    def set_aside(self, sequence: int, reason: str) -> None:
        """Take a batch that a collector will never accept out of the queue, but keep it."""
        with self._lock, self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO refused SELECT sequence, ?, body FROM batch"
                " WHERE sequence = ?",
                (reason, sequence),
            )
            self._delete("sequence = ?", (sequence,))
            self._db.execute(
                "DELETE FROM refused WHERE sequence NOT IN"
                " (SELECT sequence FROM refused ORDER BY sequence DESC LIMIT ?)",
                (REFUSED_KEPT,),
            )

    def written_until(self) -> int:
        """End of the last window ever appended, seconds since the epoch; 0 in a new spool."""
        with self._lock:
            row = self._db.execute("SELECT value FROM meta WHERE key = 'written_until'").fetchone()
        return int(row[0]) if row else 0

    def state(self) -> SpoolState:
        """What waits, and what was lost."""
        return SpoolState(self._count, self._bytes, self._rows_dropped)

    def close(self) -> None:
        """Close the file; batches stay in it."""
        with self._lock:
            self._db.close()

    def _insert(self, rows: list[tuple[int, bytes]], written_until: int) -> None:
        """Commit these; they count once they are there. The caller holds the lock."""
        newest = self.newest
        with self._db:
            for row in rows:
                cursor = self._db.execute("INSERT INTO batch (rows, body) VALUES (?, ?)", row)
                newest = cursor.lastrowid or newest
            self._db.execute(
                "INSERT INTO meta VALUES ('written_until', ?)"
                " ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
                (written_until,),
            )
        self.newest = newest
        self._count += len(rows)
        self._bytes += sum(len(body) for _, body in rows)

    def _make_room(self) -> None:
        """Drop the oldest batches, as many as it takes. The caller holds the lock."""
        if self._bytes > self._max_bytes:
            with self._db:
                while self._bytes > self._max_bytes and self._count:
                    self._rows_dropped += self._delete(
                        "sequence = (SELECT min(sequence) FROM batch)", ()
                    )
            self._once.warning(
                "full", "event=spool_full max_bytes=%d oldest windows are dropped", self._max_bytes
            )
        if self._bytes < self._max_bytes // 2:
            self._once.over("full", "event=spool_drained")

    def _delete(self, where: str, parameters: tuple[object, ...]) -> int:
        """Delete batches inside the caller's transaction; return how many rows they held."""
        gone = self._db.execute(
            f"DELETE FROM batch WHERE {where} RETURNING rows, length(body)",  # noqa: S608  # ours
            parameters,
        ).fetchall()
        self._count -= len(gone)
        self._bytes -= sum(size for _, size in gone)
        return sum(rows for rows, _ in gone)


def _connect(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=5)
    # NORMAL survives the death of the process; a power cut may cost the last windows.
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA journal_size_limit = 4194304")
    db.execute("PRAGMA cache_size = -512")
    db.executescript(_SCHEMA)
    return db


def _load(sequence: int, body: bytes) -> wire.Batch:
    batch = wire.Batch.FromString(body)
    batch.sequence = sequence
    return batch
