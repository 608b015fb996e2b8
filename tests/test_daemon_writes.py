"""What the agent writes with a window, and what it holds back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuledger_agent.clock import SteadyClock
from gpuledger_agent.config import AgentConfig
from gpuledger_agent.daemon import Daemon
from gpuledger_agent.devices.simulated import SimulatedClock, SimulatedGpus
from gpuledger_agent.meter import GpuMeter
from gpuledger_agent.records import GpuUse, Window
from tests.window_books import add, closed

START = 1_700_000_000


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(START + 20.3)


@pytest.fixture
def daemon(clock: SimulatedClock, tmp_path: Path) -> Iterator[Daemon]:
    config = AgentConfig(host="h", sources=(), spool=tmp_path / "spool.sqlite",
                         metrics_listen="", health_listen="")  # fmt: skip
    gpus = SimulatedGpus("h", "H100", 81_559, 0, (), clock)
    made = Daemon(config, gpus, SteadyClock(clock.now, clock.now))
    yield made
    made.spool.close()


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
