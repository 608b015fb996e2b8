"""The spool's SQLite file: batches in order, what was refused, and what was lost."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from gpuledger_agent.gaps import U32, Gap, noted
from gpuledger_agent.spool_entry import Entry

VERSION = 1
"""Of the tables below; a file of another version is set aside."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS batch (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS refused (
    sequence INTEGER PRIMARY KEY,
    reason TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS gap (start INTEGER, end INTEGER, rows INTEGER, reason INTEGER);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""

REFUSED_KEPT = 100
REFUSED_BYTES = 16 << 20
"""Refused batches that are kept for a human to look at, and their size; older ones go."""

FAULTS = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What sqlite3 raises: the latter where a message of SQLite's repeats damaged bytes."""

LAST = 1 << 62
"""No sequence is higher: they begin with 1, or with the time in nanoseconds."""

LOOSE_PAGES = 2_048
"""Free pages (8 MiB) that the file may have before it gives them back."""


class Unreadable(Exception):  # noqa: N818  # what the file is
    """The file is damaged or another version's: there is no going on with it."""


class SpoolFile:
    """One open file. Every call is one transaction; raises sqlite3.Error or Unreadable."""

    def __init__(self, path: Path | None) -> None:
        """Open the file, or with None a database in memory."""
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=5)
        self._db.text_factory = bytes  # no text is asked for; damaged figures may come as some
        try:
            self._prepare()
        except FAULTS as error:
            self._db.close()
            raise _judged(error) from error
        except Unreadable:
            self._db.close()
            raise

    def _prepare(self) -> None:
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        tables = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if found != VERSION and tables:
            raise Unreadable(f"it is of version {found}, not {VERSION}")
        self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        # NORMAL survives the death of the process; a power cut may cost the last windows.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA journal_size_limit = 4194304")
        self._db.execute("PRAGMA cache_size = -512")
        if not tables:
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close it; what it holds stays."""
        self._db.close()

    def size(self) -> tuple[int, int]:
        """How many batches there are, and their bytes."""
        [found] = self._all("SELECT count(*), ifnull(sum(length(body)), 0) FROM batch")
        return int(found[0]), int(found[1])

    def newest(self) -> int:
        """The highest sequence there ever was; 0 in a new file."""
        known = "SELECT seq FROM sqlite_sequence WHERE name = 'batch'"
        # Where SQLite has forgotten it, what waits here must not be taken for what comes.
        sql = f"SELECT ifnull(max(seq), 0) FROM ({known} UNION ALL SELECT max(sequence) FROM batch)"  # noqa: S608  # ours
        return self._figure(sql, LAST)

    def written_until(self) -> int:
        """End of the last window appended, seconds since the epoch; 0 in a new file."""
        return self._figure("SELECT value FROM meta WHERE key = 'written_until'", U32)

    def gaps(self) -> list[Gap]:
        """What was lost and not told yet."""
        found = [noted(*row) for row in self._all("SELECT start, end, rows, reason FROM gap")]
        gaps = [gap for gap in found if gap is not None]
        if len(gaps) < len(found):
            raise Unreadable("a loss is noted that cannot be")
        return gaps

    def after(self, sequence: int, limit: int) -> list[Entry]:
        """Up to `limit` batches that follow this sequence, oldest first."""
        rows = self._all(
            "SELECT sequence, first, last, rows, crc, body FROM batch WHERE sequence > ?"
            " ORDER BY sequence LIMIT ?",
            (sequence, limit),
        )
        found = [entry for row in rows if (entry := Entry.read(row)) is not None]
        if len(found) < len(rows):
            raise Unreadable("a batch is there that cannot be")
        return found

    def save(
        self, entries: Iterable[Entry], gone: Iterable[int], gaps: Sequence[Gap], until: int
    ) -> dict[int, int]:
        """Add batches, delete others, and note what is lost and how far was written; or nothing.

        Returns the bytes of each batch that was deleted, by sequence.
        """
        try:
            with self._db:
                sizes = self._delete(gone)
                self._db.executemany(
                    "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?)",
                    ((e.sequence, e.first, e.last, e.rows, e.crc, e.body) for e in entries),
                )
                self._db.execute("DELETE FROM gap")
                self._db.executemany(
                    "INSERT INTO gap VALUES (?, ?, ?, ?)",
                    ((gap.start, gap.end, gap.rows, gap.reason) for gap in gaps),
                )
                self._db.execute(
                    "INSERT INTO meta VALUES ('written_until', ?)"
                    " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    (until,),
                )
        except FAULTS as error:
            raise _judged(error) from error
        return sizes

    def delete(self, sequences: Iterable[int]) -> dict[int, int]:
        """Delete batches; return the bytes of each that was there, by sequence."""
        try:
            with self._db:
                return self._delete(sequences)
        except FAULTS as error:
            raise _judged(error) from error

    def keep_refused(self, entry: Entry, reason: str) -> None:
        """Keep a copy of a batch that no collector will take, apart from those that wait."""
        try:
            with self._db:
                self._db.execute(
                    "INSERT OR REPLACE INTO refused VALUES (?, ?, ?)",
                    (entry.sequence, reason, entry.body),
                )
                self._db.execute(
                    "DELETE FROM refused WHERE sequence NOT IN (SELECT sequence FROM ("
                    " SELECT sequence, sum(length(body)) OVER (ORDER BY sequence DESC) AS bytes,"
                    " row_number() OVER (ORDER BY sequence DESC) AS place FROM refused)"
                    " WHERE bytes <= ? AND place <= ?)",
                    (REFUSED_BYTES, REFUSED_KEPT),
                )
        except FAULTS as error:
            raise _judged(error) from error

    def shrink(self) -> None:
        """Give free space back to the disk, if there is much."""
        if self._all("PRAGMA freelist_count")[0][0] > LOOSE_PAGES:
            self._all("PRAGMA incremental_vacuum")

    def _delete(self, sequences: Iterable[int]) -> dict[int, int]:
        sql = (
            "DELETE FROM batch WHERE sequence IN (SELECT value FROM json_each(?))"
            " RETURNING sequence, length(body)"
        )
        return dict(self._db.execute(sql, (str(list(sequences)),)).fetchall())

    def _figure(self, sql: str, limit: int) -> int:
        """The one figure of this query, 0 without any; Unreadable if it cannot be."""
        found = self._all(sql)
        figure = found[0][0] if found else 0
        if type(figure) is not int or not 0 <= figure < limit:
            raise Unreadable("it tells figures that cannot be")
        return figure

    def _all(self, sql: str, parameters: tuple[object, ...] = ()) -> list[Any]:
        try:
            with closing(self._db.execute(sql, parameters)) as cursor:
                return cursor.fetchall()
        except FAULTS as error:
            raise _judged(error) from error


_DAMAGED = {
    *(sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA),
    # Of statements that are always the same: the tables are not those that were made.
    *(sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH),
}


def _judged(error: sqlite3.DatabaseError | UnicodeDecodeError) -> Exception:
    """The error, as Unreadable if it says that the file is damaged."""
    if isinstance(error, UnicodeDecodeError):
        return Unreadable("it is damaged where its tables are described")
    return Unreadable(str(error)) if _code(error) in _DAMAGED else error


_PASSING = {errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT}
"""Why a file may not open today and yet tomorrow. Other errors are the operator's to mend."""

_PASSING_SQLITE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR}

_CLOSED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
"""What a file once opened stays, even if the disk does not: it is opened afresh."""


def passes(error: Exception, path: Path | None) -> bool:
    """Whether the disk may be to blame, and not the settings."""
    if isinstance(error, OSError):
        return error.errno in _PASSING
    if _code(error) in _PASSING_SQLITE:
        return True
    # SQLite does not tell why it cannot open a file.
    return path is not None and bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)


def _code(error: Exception) -> int:
    """SQLite's error code without its detail (https://sqlite.org/rescode.html)."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def must_reopen(error: Exception) -> bool:
    """Whether this open file stays as it is, even if the disk gets better."""
    return _code(error) in _CLOSED
