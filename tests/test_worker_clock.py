"""Windows when the agent begins in the middle of one, and when somebody sets the clock."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_agent.clock import STALL_S, STEP_S, SteadyClock
from gpuledger_agent.devices.simulated import SimulatedClock
from gpuledger_agent.records import GpuUse
from tests.fleet_course import (
    BASE,
    assert_one_after_the_other,
    measure,
    process,
    worker_on,
)
from tests.window_books import assert_balanced


@settings(deadline=None)
@given(began_s=st.floats(0, 100), until=st.sampled_from([0, 10, 50, 60]))
def test_window_when_an_earlier_run_has_written_it_then_it_is_not_measured_again(
    began_s: float, until: int
) -> None:
    """Half a window would replace the whole one: rows are idempotent by their window."""
    clock = SimulatedClock(0.0)
    worker = worker_on([process()], clock, written_until=float(BASE + until))
    uses = measure(worker, clock, [BASE + began_s + n for n in range(90)])
    assert_one_after_the_other(uses)
    assert min(use.window.start for use in uses) >= BASE + until
    lost_s = max(until - began_s, 0)
    assert sum(use.observed_ms for use in uses) == pytest.approx(89_000 - lost_s * 1000, abs=1001)


class Host:
    """A machine whose wall clock somebody sets. The GPU was busy all the while."""

    def __init__(self) -> None:
        self.wall, self.steady, self.forward_s = float(BASE), 0.0, 0.0
        self.worker = worker_on(
            [process(start=-1e9)], SteadyClock(lambda: self.wall, lambda: self.steady)
        )
        self.uses: list[GpuUse] = []

    def live(self, seconds: int) -> None:
        for _ in range(seconds):
            self.uses += self.worker.tick()
            self.steady += 1
            self.wall += 1

    def step(self, seconds: float) -> None:
        self.wall += seconds
        self.forward_s += max(seconds, 0.0)

    def end(self) -> None:
        self.uses += self.worker.close()
        for use in self.uses:
            assert_balanced(use)
        passed_ms = (self.steady + self.forward_s) * 1000
        assert sum(use.observed_ms for use in self.uses) <= passed_ms + len(self.uses)


steps = st.lists(st.tuples(st.integers(1, 40), st.floats(-STALL_S + STEP_S, 1000)), max_size=6)


@settings(deadline=None)
@given(steps)
def test_windows_when_the_clock_is_set_back_for_a_while_then_none_is_measured_twice(
    course: list[tuple[int, float]],
) -> None:
    host = Host()
    for seconds, step_s in course:
        host.live(seconds)
        host.step(step_s)
    host.live(30)
    host.end()
    assert_one_after_the_other(host.uses)


@settings(deadline=None)
@given(st.integers(1, 40), st.floats(-1e6, -STALL_S - STEP_S), st.integers(30, 60))
def test_windows_when_the_clock_is_set_far_back_then_they_go_on_there(
    before_s: int, step_s: float, after_s: int
) -> None:
    host = Host()
    host.live(before_s)
    host.step(step_s)
    host.live(after_s)
    host.end()
    starts = [use.window.start for use in host.uses]
    assert starts[-1] == pytest.approx(host.wall, abs=11)
    assert len(starts) == len(set(starts))
