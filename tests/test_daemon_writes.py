"""What the agent writes with a window, and what it holds back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuledger_agent.clock import SteadyClock
from gpuledger_agent.config import AgentConfig
from gpuledger_agent.daemon import Daemon
from gpuledger_agent.devices.simulated import SimulatedClock, SimulatedGpus
from gpuledger_agent.gaps import GapReason, gaps_of
from gpuledger_agent.meter import GpuMeter
from gpuledger_agent.records import GpuUse, Window
from gpuledger_agent.spool import Spool
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.window_books import add, closed

START = 1_700_000_000


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(START + 20.3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.sqlite"


def started(path: Path, clock: SimulatedClock) -> Daemon:
    config = AgentConfig(host="h", sources=(), spool=path, metrics_listen="", health_listen="")
    gpus = SimulatedGpus("h", "H100", 81_559, 0, (), clock)
    return Daemon(config, gpus, SteadyClock(clock.now, clock.now))


@pytest.fixture
def daemon(clock: SimulatedClock, path: Path) -> Iterator[Daemon]:
    made = started(path, clock)
    yield made
    made.spool.close()


@pytest.fixture
def killed(path: Path) -> None:
    """An earlier run wrote the first window of all, and then no more."""
    spool = Spool(path)
    spool.append([wire.Batch(dictionary=[""])], START + 10)
    spool.close()


def told(daemon: Daemon) -> list[tuple[int, int]]:
    gaps = [gap for batch in daemon.spool.after(0, 100) for gap in gaps_of(batch)]
    assert {gap.reason for gap in gaps} <= {GapReason.STOPPED}
    return [(gap.start - START, gap.end - START) for gap in gaps]


def write(daemon: Daemon, start_s: int, *uses: GpuUse) -> None:
    daemon._gaps_told = 0.0
    daemon._write(Window(START + start_s, 10), list(uses))


def use(start_s: int) -> GpuUse:
    meter = GpuMeter(Window(START + start_s, 10))
    add(meter)
    return closed(meter)


def test_window_when_some_gpus_have_closed_it_early_then_it_waits_for_the_others(
    daemon: Daemon,
) -> None:
    """Else a kill would lose the others' part, and nobody would know: it counts as written."""
    first, early, late = use(0), use(10), use(10)
    daemon._closed.put([first])
    daemon._closed.put([early])
    assert daemon._collect(first.window) == [first]
    daemon._closed.put([late])
    assert daemon._collect(early.window) == [early, late]


def test_window_when_the_clock_was_set_far_back_then_it_does_not_wait_for_its_time_again(
    daemon: Daemon,
) -> None:
    before, after = use(5000), use(0)
    daemon._closed.put([before, after])
    assert daemon._collect(after.window) == [before, after]


def test_agent_when_it_ends_then_nothing_is_held_back(daemon: Daemon) -> None:
    uses = [use(0), use(10)]
    daemon._closed.put(uses)
    assert daemon._collect() == uses


@pytest.mark.usefixtures("killed")
@pytest.mark.parametrize(("first_s", "end_s"), [(20, 20), (30, 30), (60, 60)])
def test_agent_when_it_measures_again_then_all_time_before_its_first_window_is_told(
    path: Path, clock: SimulatedClock, first_s: int, end_s: int
) -> None:
    """It began at 20.3; a driver may take longer to open than the window lasts."""
    daemon = started(path, clock)
    for start_s in range(20, first_s, 10):
        write(daemon, start_s)
    assert told(daemon) == []
    write(daemon, first_s, use(first_s))
    write(daemon, first_s + 10, use(first_s + 10))
    assert told(daemon) == [(10, end_s)]
    daemon.spool.close()


@pytest.mark.usefixtures("killed")
def test_agent_when_it_begins_within_its_first_window_then_the_part_before_is_told(
    path: Path, clock: SimulatedClock
) -> None:
    clock.at = START + 27.9
    daemon = started(path, clock)
    write(daemon, 20, use(20))
    assert told(daemon) == [(10, 27)]
    daemon.spool.close()


@pytest.mark.usefixtures("killed")
def test_agent_when_killed_before_it_measured_then_the_next_tells_of_it_all(
    path: Path, clock: SimulatedClock
) -> None:
    """Its own row was written and sent; it does not count as a window that was kept."""
    daemon = started(path, clock)
    write(daemon, 20)
    daemon.spool.close()
    clock.at = START + 41
    daemon = started(path, clock)
    write(daemon, 40, use(40))
    assert told(daemon) == [(10, 41)]
    daemon.spool.close()


def test_agent_when_it_is_the_first_on_its_host_then_it_tells_of_no_absence(daemon: Daemon) -> None:
    write(daemon, 30, use(30))
    assert told(daemon) == []
