"""A damaged spool: set aside, and another begun with what can still be read of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from gpuledger_agent.gaps import U32, Gap, noted
from gpuledger_agent.spool_entry import Entry
from gpuledger_agent.spool_file import FAULTS, SpoolFile


def replace_damaged(
    path: Path, wanted: Callable[[int], bool], *, inherit: bool
) -> tuple[SpoolFile, int, Path]:
    """Begin another file in the place of this one.

    Of its batches those whose sequence is `wanted` come over, and with `inherit` what it had to
    tell. Returns the new file, how many batches came, and where the old file is. Raises
    sqlite3.Error, OSError or Unreadable.
    """
    aside = set_aside(path)
    file = SpoolFile(path)
    saved = 0
    for entry in salvage(aside):
        if wanted(entry.sequence):
            file.save([entry], (), (), entry.last)
            saved += 1
    if inherit:
        file.save((), (), *heritage(aside))
    return file, saved, aside


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
        parts = (path, path.with_name(path.name + "-wal"))
        until = int(max(part.stat().st_mtime for part in parts if part.exists()))
    return gaps, until


def set_aside(path: Path) -> Path:
    """Move a damaged file out of the way, over one of before; return where. Raises OSError."""
    aside = path.with_name(path.name + ".damaged")
    # With its log, which may hold what was written last.
    for rest in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + rest).replace(aside.with_name(aside.name + rest))
    return aside
