"""What waits on disk: kept in order, within bounds, through kill -9."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpuledger_agent.spool import Spool
from gpuledger_agent.spool_file import REFUSED_KEPT
from gpuledger_agent.spool_state import SpoolError, SpoolState
from gpuledger_proto.v1 import telemetry_pb2 as wire

ALL = 1_000_000


def made(rows: int = 1, bulk: int = 0) -> wire.Batch:
    """A batch of so many rows and about so many more bytes."""
    batch = wire.Batch(dictionary=["", "x" * bulk])
    batch.process_usage.window_start.extend(range(rows))
    return batch


def waiting(spool: Spool) -> list[int]:
    return [batch.sequence for batch in spool.after(0, ALL)]


def refused(path: Path) -> list[tuple[int, str]]:
    """What a human finds who looks at the file."""
    with sqlite3.connect(path) as db:
        found = db.execute("SELECT sequence, reason FROM refused ORDER BY sequence").fetchall()
    db.close()
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "spool.sqlite"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    opened = Spool(path)
    yield opened
    opened.close()


def test_batches_when_appended_then_they_are_read_in_order_and_as_they_were(spool: Spool) -> None:
    batches = [made(rows=n) for n in range(1, 6)]
    spool.append(batches[:2], 0)
    spool.append(batches[2:], 0)
    read = spool.after(0, ALL)
    assert [batch.sequence for batch in read] == [1, 2, 3, 4, 5]
    for batch in read:
        batch.sequence = 0
    assert read == batches
    assert [batch.sequence for batch in spool.after(2, 2)] == [3, 4]
    assert spool.after(5, ALL) == []


def test_directory_when_the_spool_makes_it_then_it_is_for_its_user_alone(
    spool: Spool, path: Path
) -> None:
    spool.append([made()], 0)
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_batches_when_forgotten_then_the_others_stay(spool: Spool) -> None:
    spool.append([made(rows=2) for _ in range(5)], 0)
    spool.forget([2, 4, 99])
    assert waiting(spool) == [1, 3, 5]
    assert spool.state().batches == 3
    assert spool.state().rows_dropped == 0


def test_sequence_when_the_spool_was_emptied_and_reopened_then_it_is_never_used_again(
    path: Path,
) -> None:
    """A late answer to an old batch must not strike off a new one."""
    spool = Spool(path)
    spool.append([made()] * 3, 0)
    spool.forget([1, 2, 3])
    spool.close()
    spool = Spool(path)
    spool.append([made()], 0)
    assert waiting(spool) == [4]
    assert spool.newest == 4
    spool.close()


def test_spool_when_reopened_then_everything_is_still_there(path: Path) -> None:
    spool = Spool(path)
    spool.append([made(rows=3, bulk=100)] * 2, 30)
    state = spool.state()
    spool.close()
    spool = Spool(path)
    assert (spool.state(), waiting(spool), spool.newest) == (state, [1, 2], 2)
    assert spool.written_until() == 30
    spool.close()


def test_spool_when_in_memory_then_it_works_the_same() -> None:
    spool = Spool(None)
    assert (spool.written_until(), spool.newest) == (0, 0)
    spool.append([made()], 20)
    assert (waiting(spool), spool.written_until()) == ([1], 20)
    spool.close()


def test_written_until_when_late_windows_are_written_then_it_never_goes_back(spool: Spool) -> None:
    for until, expected in ((20, 20), (10, 20), (30, 30)):
        spool.append([made()], until)
        assert spool.written_until() == expected


def test_spool_when_over_its_limit_then_the_oldest_go_and_their_rows_are_counted(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(path, max_bytes=10_000)
    for rows in range(1, 21):
        spool.append([made(rows=rows, bulk=1000)], 0)
        assert spool.state().bytes <= 10_000
    kept = waiting(spool)
    assert 8 <= len(kept) <= 9
    assert kept == list(range(21 - len(kept), 21))
    assert spool.state().rows_dropped == sum(range(1, kept[0]))
    assert [r.message for r in caplog.records if "spool_full" in r.message] == [
        "event=spool_full max_bytes=10000 oldest windows are dropped"
    ]
    spool.close()


def test_spool_when_a_batch_alone_is_over_the_limit_then_it_is_dropped_and_counted() -> None:
    spool = Spool(None, max_bytes=10_000)
    spool.append([made(), made(rows=7, bulk=20_000)], 0)
    assert spool.state() == SpoolState(batches=0, bytes=0, rows_dropped=8)
    spool.append([made()], 0)
    assert waiting(spool) == [3]
    spool.close()


def test_batch_when_set_aside_then_it_is_kept_with_the_reason_and_waits_no_more(
    path: Path, spool: Spool
) -> None:
    spool.append([made(rows=2)] * 3, 0)
    spool.set_aside(2, "no such column\nreally")
    assert waiting(spool) == [1, 3]
    assert refused(path) == [(2, "no such column\nreally")]
    assert spool.state().batches == 2
    spool.set_aside(77, "never seen")
    assert refused(path) == [(2, "no such column\nreally")]


def test_refused_when_too_many_then_the_oldest_go(path: Path, spool: Spool) -> None:
    count = REFUSED_KEPT + 5
    spool.append([made()] * count, 0)
    for sequence in range(1, count + 1):
        spool.set_aside(sequence, "no")
    assert [sequence for sequence, _ in refused(path)] == list(range(6, count + 1))


@pytest.mark.parametrize("place", ["file/spool.sqlite", "directory", "/proc/none/spool.sqlite"])
def test_spool_when_it_cannot_be_opened_then_one_line_says_where_and_what_to_do(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "directory").mkdir()
    with pytest.raises(SpoolError) as raised:
        Spool(tmp_path / place)
    said = str(raised.value)
    assert str(tmp_path / place) in said
    assert said.endswith("; give the agent a directory it can write (--spool)")
    assert len(said.splitlines()) == 1


WRITER = """
import os, sys
from pathlib import Path
from gpuledger_agent.spool import Spool
from gpuledger_proto.v1 import telemetry_pb2 as wire
spool = Spool(Path(sys.argv[1]))
until = spool.written_until()
while True:
    until += 10
    spool.append([wire.Batch(dictionary=["", "x" * 999])] * 3, until)
    os.write(1, b"%d %d\\n" % (spool.newest, until))
"""


def test_spool_when_killed_at_any_moment_then_all_that_was_appended_is_there(
    path: Path,
) -> None:
    """A batch survives once `append` has returned, and a window is there whole or not at all."""
    rng = random.Random()
    told = (0, 0)
    for _ in range(8):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(rng.randrange(1, 400)):
                last = writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().rpartition(b"\n")[0].rpartition(b"\n")[2]
        newest, until = map(int, (rest or last).split())
        assert (newest, until) > told
        spool = Spool(path)
        found = waiting(spool)
        assert found == list(range(1, len(found) + 1))
        assert len(found) % 3 == 0
        assert newest <= len(found) <= newest + 3
        assert until <= spool.written_until() <= until + 10
        told = (newest, until)
        spool.close()


CRAMPED = """
import resource, sqlite3, sys
from pathlib import Path
from gpuledger_agent.spool import Spool
from gpuledger_proto.v1 import telemetry_pb2 as wire
spool = Spool(Path(sys.argv[1]))
batch = wire.Batch(dictionary=["", "x" * 9999])
batch.agent_health.window_start.append(0)
spool.append([batch], 10)
resource.setrlimit(resource.RLIMIT_FSIZE, (32768, resource.RLIM_INFINITY))
spool.append([batch] * 5, 20)
def tell():
    with sqlite3.connect(sys.argv[1]) as db:
        [(on_disk,)] = db.execute("SELECT count(*) FROM batch")
    state = spool.state()
    print(spool.newest, len(spool.after(0, 99)), spool.written_until(), state.rows_dropped, on_disk)
tell()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.append([batch], 30)
tell()
"""


def test_batches_when_they_cannot_be_written_then_they_wait_in_memory_for_the_disk(
    path: Path,
) -> None:
    command = [sys.executable, "-c", CRAMPED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["6 6 20 0 1", "7 7 30 0 7"]
    assert done.stderr.count("event=spool_write_failed") == 1


def test_spool_when_threads_append_and_forget_at_once_then_it_counts_right(path: Path) -> None:
    spool = Spool(path)
    done = threading.Event()

    def answer() -> None:
        while not done.is_set() or spool.after(0, 1):
            spool.forget([batch.sequence for batch in spool.after(0, 3)])

    def write(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(200):
            spool.append([made(bulk=rng.randrange(100)) for _ in range(rng.randrange(3))], 0)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            answering = pool.submit(answer)
            for writing in [pool.submit(write, seed) for seed in range(3)]:
                writing.result()
            done.set()
            answering.result()
    finally:
        sys.setswitchinterval(before)
    assert spool.state() == SpoolState(batches=0, bytes=0, rows_dropped=0)
    spool.close()
