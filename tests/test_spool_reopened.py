"""A spool that begins on a disk which cannot be read: what lies on it comes back with the disk."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuledger_agent.clock import SteadyClock
from gpuledger_agent.config import AgentConfig
from gpuledger_agent.daemon import Daemon
from gpuledger_agent.devices.simulated import SimulatedClock, SimulatedGpus
from gpuledger_agent.gaps import Gap, GapReason, gaps_of
from gpuledger_agent.spool import Spool
from gpuledger_agent.spool_file import SpoolFile
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.scripted_collector import ScriptedCollector
from tests.small_disk import SmallDisk, small_disk
from tests.uplink_fixture import uplink_to
from tests.waiting import wait_until

HOUR = 1_800_057_600


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Write-protected; three windows of an earlier run wait on it."""
    with small_disk(tmp_path / "disk", 8) as mounted:
        spool = Spool(mounted.path / "spool.sqlite")
        for number in range(3):
            append(spool, HOUR + 10 * number)
        spool.close()
        mounted.protect("ro")
        yield mounted


@pytest.fixture
def spool(disk: SmallDisk) -> Iterator[Spool]:
    opened = Spool(disk.path / "spool.sqlite")
    yield opened
    opened.close()


def append(spool: Spool, start: int) -> None:
    batch = wire.Batch(dictionary=[""])
    batch.gpu_usage.window_start.append(start)
    batch.gpu_usage.window_s.append(10)
    spool.append([batch], start + 10)


def starts(spool: Spool) -> list[int]:
    """Where the windows of each batch begin that holds any."""
    waiting = spool.after(0, 1000)
    return [b.gpu_usage.window_start[0] - HOUR for b in waiting if b.gpu_usage.window_start]


def test_spool_when_its_disk_comes_back_then_both_runs_wait_side_by_side(
    disk: SmallDisk, spool: Spool
) -> None:
    append(spool, HOUR + 100)
    assert (starts(spool), spool.earlier_until) == ([100], None)
    disk.protect("rw")
    append(spool, HOUR + 110)
    assert starts(spool) == [0, 10, 20, 100, 110]
    assert spool.state().on_disk
    assert spool.earlier_until == HOUR + 30
    assert spool.written_until() == HOUR + 120


def test_spool_when_killed_as_its_disk_comes_back_then_the_absence_before_is_on_it(
    disk: SmallDisk, spool: Spool
) -> None:
    """With the first write: the file then says that all was written up to the present."""
    spool.begin(HOUR + 100)
    append(spool, HOUR + 100)
    disk.protect("rw")
    append(spool, HOUR + 110)
    file = SpoolFile(disk.path / "spool.sqlite")
    assert (file.written_until(), file.gaps()) == (
        HOUR + 120,
        [Gap(HOUR + 30, HOUR + 100, 0, GapReason.STOPPED)],
    )
    file.close()


def test_ack_when_its_batch_was_sent_from_memory_then_it_strikes_off_no_other(
    disk: SmallDisk, spool: Spool
) -> None:
    append(spool, HOUR + 100)
    [sent] = spool.after(0, 10)
    disk.protect("rw")
    append(spool, HOUR + 110)
    spool.forget([sent.sequence])
    assert starts(spool) == [0, 10, 20, 110]


def test_uplink_when_the_disk_comes_back_then_what_lay_on_it_is_sent(
    disk: SmallDisk,
    spool: Spool,
    scripted: ScriptedCollector,
    eager: None,  # noqa: ARG001  # for its effect
) -> None:
    append(spool, HOUR + 100)
    with uplink_to(spool, scripted.address):
        session = scripted.session()
        session.welcome()
        session.ack(session.batch())
        wait_until(lambda: not spool.state().batches)
        disk.protect("rw")
        append(spool, HOUR + 110)
        again = scripted.session()
        again.welcome()
        again.ack(*again.batches(4))
        wait_until(lambda: not spool.state().batches)
    assert starts(spool) == []


def test_agent_when_its_disk_comes_back_then_the_time_before_it_began_is_told(
    disk: SmallDisk,
) -> None:
    clock = SimulatedClock(HOUR + 1000.5)
    config = AgentConfig(
        host="h", sources=(), spool=disk.path / "spool.sqlite", window_s=1,
        metrics_listen="", health_listen="",
    )  # fmt: skip
    wall = SteadyClock(clock.now, clock.now)
    daemon = Daemon(config, SimulatedGpus("h", "H100", 81_559, 1, (), clock), wall)
    assert daemon.resumes_at == HOUR + 1001
    stop = threading.Event()
    running = threading.Thread(target=daemon.run, args=(stop,))
    running.start()
    try:
        disk.protect("rw")

        def tells() -> bool:
            clock.at += 0.1
            return bool(told(daemon.spool))

        wait_until(tells)
        first = min(start for start in starts(daemon.spool) if start > 30)
        assert first >= 1001
        assert told(daemon.spool) == [Gap(HOUR + 30, HOUR + first, 0, GapReason.STOPPED)]
    finally:
        stop.set()
        running.join(20)


def told(spool: Spool) -> list[Gap]:
    return [gap for batch in spool.after(0, 1000) for gap in gaps_of(batch)]
