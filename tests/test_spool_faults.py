"""The spool on disks that are full, write-protected or damaged: nothing is lost untold."""

from __future__ import annotations

import itertools
import logging
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuledger_agent import spool as module
from gpuledger_agent.gaps import Gap, GapReason, gaps_of
from gpuledger_agent.spool import Spool
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.small_disk import SmallDisk, small_disk

DAY = 1_800_057_600
"""Midnight UTC."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 8) as mounted:
        yield mounted


def made(start: int = DAY, *, rows: int = 2, bulk: int = 1000) -> wire.Batch:
    """A batch of a window of 10 s."""
    batch = wire.Batch(dictionary=["", random.randbytes(bulk // 2).hex()])
    batch.gpu_usage.window_start.extend([start] * rows)
    batch.gpu_usage.window_s.extend([10] * rows)
    return batch


def fill(spool: Spool, count: int, *, since: int = DAY, bulk: int = 1000) -> None:
    """Append so many windows, one after the other."""
    for number in range(count):
        start = since + 10 * number
        spool.append([made(start, bulk=bulk)], start + 10)


def waiting(spool: Spool) -> list[int]:
    return [batch.sequence for batch in spool.after(0, 100_000)]


def told(spool: Spool) -> list[Gap]:
    """All gaps that the spool tells of."""
    spool.tell_gaps()
    return [gap for batch in spool.after(0, 100_000) for gap in gaps_of(batch)]


def test_disk_when_it_is_full_then_windows_wait_in_memory_and_are_sent_meanwhile(
    disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    spool = Spool(disk.path / "spool.sqlite")
    fill(spool, 3)
    disk.fill()
    fill(spool, 20, since=DAY + 30, bulk=100_000)
    assert waiting(spool) == list(range(1, 24))
    assert not spool.state().on_disk
    spool.forget([1, 2, 10])
    assert waiting(spool) == [3, *range(4, 10), *range(11, 24)]
    disk.free()
    fill(spool, 1, since=DAY + 230)
    assert spool.state().on_disk
    assert told(spool) == []
    spool.close()
    spool = Spool(disk.path / "spool.sqlite")
    assert waiting(spool) == [*range(3, 10), *range(11, 25)]
    assert spool.state().batches == 21
    assert spool.state().rows_dropped == 0
    spool.close()
    lines = [r.getMessage() for r in caplog.records]
    assert len([line for line in lines if "event=spool_write_failed" in line]) == 1
    assert len([line for line in lines if "event=spool_writable" in line]) == 1


def test_disk_when_it_is_full_for_too_long_then_the_oldest_in_memory_go_and_are_told(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MEMORY_BYTES", 1_000_000)
    spool = Spool(disk.path / "spool.sqlite")
    fill(spool, 1)
    disk.fill()
    fill(spool, 30, since=DAY + 10, bulk=100_000)
    kept = waiting(spool)
    assert kept[0] == 1
    assert kept[1:] == list(range(kept[1], 32))
    lost = kept[1] - 2
    assert spool.state().rows_dropped == 2 * lost > 0
    disk.free()
    fill(spool, 1, since=DAY + 310)
    assert told(spool) == [Gap(DAY + 10, DAY + 10 + 10 * lost, 2 * lost, GapReason.DISK)]
    spool.close()


def test_agent_when_it_starts_on_a_write_protected_disk_then_it_measures_all_the_same(
    disk: SmallDisk,
) -> None:
    disk.protect("ro")
    spool = Spool(disk.path / "spool.sqlite")
    fill(spool, 3)
    measured = waiting(spool)
    assert len(measured) == 3
    disk.protect("rw")
    fill(spool, 1, since=DAY + 30)
    spool.close()
    spool = Spool(disk.path / "spool.sqlite")
    assert waiting(spool) == [*measured, measured[-1] + 1]
    assert spool.written_until() == DAY + 40
    spool.close()


@pytest.mark.parametrize("damage", ["garbage", "zeros in the middle", "cut", "other", "empty"])
def test_file_when_it_is_damaged_then_set_aside_and_what_can_be_read_is_saved(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "spool.sqlite"
    spool = Spool(path)
    fill(spool, 300)
    spool.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    _harm(path, damage)
    before = path.read_bytes()
    spool = Spool(path)
    saved = waiting(spool)
    fill(spool, 2, since=DAY + 3000)
    assert waiting(spool)[: len(saved)] == saved
    assert len(waiting(spool)) == len(saved) + 2
    gaps = told(spool)
    spool.close()
    if damage == "empty":
        assert (saved, gaps) == ([], [])
        return
    assert [gap.reason for gap in gaps] == [GapReason.CORRUPT]
    aside = (tmp_path / "spool.sqlite.damaged").read_bytes()
    # Where the damage shows only on reading, the file had been written to before.
    assert aside == before if damage != "zeros in the middle" else len(aside) == len(before)
    [line] = [r.getMessage() for r in caplog.records if "spool_damaged" in r.getMessage()]
    assert str(tmp_path / "spool.sqlite.damaged") in line
    if damage == "zeros in the middle":
        assert saved[0] == 1
        assert saved[-1] == 300
        assert 100 < len(saved) < 300


def test_file_when_it_is_damaged_after_a_kill_then_what_was_only_in_its_log_is_saved(
    tmp_path: Path,
) -> None:
    path = tmp_path / "spool.sqlite"
    spool = Spool(path)
    fill(spool, 300)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    fill(spool, 3, since=DAY + 3000)
    for part in ("spool.sqlite", "spool.sqlite-wal"):
        shutil.copy(tmp_path / part, tmp_path / f"copy-{part}")
    spool.close()
    copy = tmp_path / "copy-spool.sqlite"
    with copy.open("r+b") as file:
        file.seek(copy.stat().st_size // 2)
        file.write(bytes(8192))
    spool = Spool(copy)
    fill(spool, 1, since=DAY + 3030)
    assert waiting(spool)[-4:] == [301, 302, 303, 304]
    spool.close()


def test_batch_when_only_its_body_is_damaged_then_it_alone_is_lost_and_told(
    tmp_path: Path,
) -> None:
    path = tmp_path / "spool.sqlite"
    spool = Spool(path)
    fill(spool, 5)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE batch SET body = zeroblob(length(body)) WHERE sequence = 3")
    db.close()
    assert waiting(spool) == [1, 2, 4, 5]
    assert told(spool) == [Gap(DAY + 20, DAY + 30, 2, GapReason.CORRUPT)]
    assert spool.state().rows_dropped == 2
    spool.close()


def test_file_when_its_batches_are_damaged_then_what_it_had_to_tell_is_saved(
    tmp_path: Path,
) -> None:
    path = tmp_path / "spool.sqlite"
    spool = Spool(path)
    fill(spool, 300)
    spool.set_aside(1, "no")
    spool.close()
    _harm(path, "zeros in the middle")
    spool = Spool(path)
    assert len(waiting(spool)) < 300
    assert spool.earlier_until == DAY + 3000
    assert told(spool) == [
        Gap(DAY + 3000, DAY + 3000, 0, GapReason.CORRUPT),
        Gap(DAY, DAY + 10, 2, GapReason.REFUSED),
    ]
    spool.close()


def test_file_when_nothing_can_be_read_of_it_then_it_was_written_until_its_last_change(
    tmp_path: Path,
) -> None:
    path = tmp_path / "spool.sqlite"
    path.write_bytes(b"nonsense" * 1000)
    os.utime(path, (DAY + 77, DAY + 77))
    spool = Spool(path)
    assert spool.earlier_until == DAY + 77
    assert told(spool) == [Gap(DAY + 77, DAY + 77, 0, GapReason.CORRUPT)]
    spool.close()


def test_gap_when_it_is_refused_then_it_is_not_told_for_ever(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite")
    fill(spool, 1)
    spool.set_aside(1, "no")
    spool.tell_gaps()
    spool.set_aside(2, "telemetry_gaps row 0: too old")
    assert told(spool) == []
    spool.close()


def test_file_when_damaged_while_open_then_the_agent_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    spool = Spool(path)
    fill(spool, 300)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size // 2))
    # SQLite keeps pages that it has read: what it reads afresh is damaged.
    fill(spool, 3, since=DAY + 3000)
    spool.forget(range(1, 301))
    fill(spool, 3, since=DAY + 3030)
    assert waiting(spool)[-6:] == [301, 302, 303, 304, 305, 306]
    spool.close()
    spool = Spool(path)
    assert waiting(spool)[-6:] == [301, 302, 303, 304, 305, 306]
    spool.close()


def test_windows_when_older_than_the_limit_then_given_up_and_told(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite", max_age_s=100)
    fill(spool, 12)
    assert waiting(spool) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    fill(spool, 1, since=DAY + 200)
    assert waiting(spool) == [11, 12, 13]
    assert told(spool) == [Gap(DAY, DAY + 100, 20, GapReason.SPOOL_AGE)]
    spool.close()


def test_spool_when_full_for_days_then_each_day_is_one_gap(tmp_path: Path) -> None:
    """Gaps that are themselves dropped before they were sent are told again."""
    spool = Spool(tmp_path / "spool.sqlite", max_bytes=20_000)
    for number in range(500):
        start = DAY - 2_500 + 10 * number
        spool.append([made(start)], start + 10)
        if number % 7 == 0:
            spool.tell_gaps()
    gaps = told(spool)
    kept = [batch.gpu_usage.window_start[0] for batch in spool.after(0, 1000)
            if batch.gpu_usage.window_start]  # fmt: skip
    spool.close()
    assert kept == list(range(kept[0], DAY + 2_500, 10))
    assert sum(gap.rows for gap in gaps) == 2 * (500 - len(kept))
    covered = sorted((gap.start, gap.end) for gap in gaps)
    assert covered[0][0] == DAY - 2_500
    assert covered[-1][1] == kept[0]
    assert all(one[1] == other[0] for one, other in itertools.pairwise(covered))


def test_gaps_when_the_agent_is_killed_before_it_told_then_they_are_told_after(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path / "spool.sqlite", max_bytes=5_000)
    fill(spool, 20)
    dropped = spool.state().rows_dropped
    # As after kill -9: nothing is closed.
    for part in ("spool.sqlite", "spool.sqlite-wal"):
        shutil.copy(tmp_path / part, tmp_path / f"copy-{part}")
    again = Spool(tmp_path / "copy-spool.sqlite", max_bytes=5_000)
    assert sum(gap.rows for gap in told(again)) == dropped > 0
    again.close()
    spool.close()


def test_batch_when_refused_then_its_windows_are_told_as_missing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite")
    fill(spool, 3)
    spool.set_aside(2, "no")
    assert told(spool) == [Gap(DAY + 10, DAY + 20, 2, GapReason.REFUSED)]
    assert spool.state().rows_dropped == 0
    spool.close()


def _harm(path: Path, damage: str) -> None:
    content = path.read_bytes()
    match damage:
        case "garbage":
            path.write_bytes(random.Random(1).randbytes(len(content)))
        case "zeros in the middle":
            middle = len(content) // 2
            path.write_bytes(content[:middle] + bytes(8192) + content[middle + 8192 :])
        case "cut":
            path.write_bytes(content[: len(content) // 3])
        case "other":
            path.unlink()
            with sqlite3.connect(path) as db:
                db.execute("CREATE TABLE holiday (photo BLOB)")
            db.close()
        case _:
            path.write_bytes(b"")
