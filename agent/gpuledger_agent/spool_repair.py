"""A damaged spool: set aside, and another begun with what can still be read of it."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from gpuledger_agent.gaps import U32, Gap, noted
from gpuledger_agent.spool_entry import Entry
from gpuledger_agent.spool_file import FAULTS, SpoolFile

PARTS = ("", "-wal", "-shm")
"""Ends of the names of the files that make up one of SQLite's."""


def mend(path: Path, wanted: Callable[[int], bool], *, inherit: bool) -> tuple[SpoolFile, int]:
    """Begin another file beside a damaged one, for `take_place`.

    Of its batches those whose sequence is `wanted` come over, and with `inherit` what it had to
    tell. Returns the new file, and how many batches came. Raises sqlite3.Error, OSError or
    Unreadable.
    """
    file = SpoolFile(_beside(path))
    saved = until = 0
    for entry in salvage(path):
        if wanted(entry.sequence):
            until = max(until, entry.last)
            file.save([entry], (), (), until)
            saved += 1
    if inherit:
        gaps, written = heritage(path)
        file.save((), (), gaps, max(until, written))
    return file, saved


def take_place(path: Path) -> Path:
    """Put the file that `mend` made, now closed, in the place of the damaged one.

    That one goes to another name, over one of before. Returns where it is. Raises OSError.
    """
    if _part(_beside(path), "-wal").exists():
        raise OSError(errno.EIO, "cannot write what was saved of a damaged spool")
    aside = _part(path, ".damaged")
    # With its log, which may hold what was written last.
    for part in PARTS:
        with suppress(FileNotFoundError):
            _part(path, part).replace(_part(aside, part))
    _beside(path).replace(path)
    return aside


def opened(path: Path | None) -> SpoolFile:
    """The file, or with None one in memory; replaced, if a kill has interrupted that.

    Raises sqlite3.Error, OSError or Unreadable.
    """
    if path is not None:
        _finish(path)
    return SpoolFile(path)


def _finish(path: Path) -> None:
    """Complete, or undo, what a kill has interrupted."""
    beside = _beside(path)
    if path.exists():
        _remove(beside)
    elif beside.exists():
        # Its log would be taken for that of the new file.
        _remove(path)
        beside.replace(path)


def salvage(path: Path) -> Iterator[Entry]:
    """The batches that can still be read out of a damaged file, from both ends; one at a time."""
    found: set[int] = set()
    with suppress(*FAULTS), closing(sqlite3.connect(path)) as db:
        for order in ("", " DESC"):
            sql = (
                f"SELECT sequence, first, last, rows, crc, body FROM batch ORDER BY sequence{order}"  # noqa: S608  # ours
            )
            with suppress(*FAULTS), closing(db.execute(sql)) as cursor:
                for row in cursor:
                    if row[0] in found:
                        break
                    found.add(row[0])
                    entry = Entry.read(row)
                    if entry is not None and entry.sound:
                        yield entry


def heritage(path: Path) -> tuple[list[Gap], int]:
    """What else can be read of a damaged file: gaps not told yet, and until when it was written.

    Where it does not say that any more, it is when the file itself was written last.
    """
    gaps: list[Gap] = []
    until = 0
    with suppress(*FAULTS), closing(sqlite3.connect(path)) as db:
        with suppress(*FAULTS):
            for row in db.execute("SELECT start, end, rows, reason FROM gap"):
                gap = noted(*row)
                if gap is not None:
                    gaps.append(gap)
        with suppress(*FAULTS, TypeError):
            sql = "SELECT value FROM meta WHERE key = 'written_until'"
            [until] = db.execute(sql).fetchone()
    if type(until) is not int or not 0 < until < U32:
        parts = (path, _part(path, "-wal"))
        until = int(max(part.stat().st_mtime for part in parts if part.exists()))
    return gaps, until


def _beside(path: Path) -> Path:
    """Where another file is made, in the time before it takes its place."""
    return _part(path, ".mended")


def _part(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _remove(path: Path) -> None:
    for part in PARTS:
        _part(path, part).unlink(missing_ok=True)
