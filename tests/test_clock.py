"""Time as the agent uses it: follows the wall clock, and does not run back by surprise."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_agent.clock import STALL_S, STEP_S, SteadyClock

START = 1_700_000_000.0


class Host:
    """The two clocks of a machine. `drift` is what the wall clock gains in a second."""

    def __init__(self, drift: float = 0.0) -> None:
        self.wall = START
        self.steady = 17.0
        self.drift = drift
        self.clock = SteadyClock(lambda: self.wall, lambda: self.steady)

    def pass_time(self, seconds: float) -> float:
        self.steady += seconds
        self.wall += seconds * (1 + self.drift)
        return self.clock.now()

    def step(self, seconds: float) -> float:
        self.wall += seconds
        return self.clock.now()


def test_clock_when_nothing_happens_then_it_is_the_wall_clock() -> None:
    host = Host()
    assert host.clock.now() == START
    assert host.pass_time(1000.25) == START + 1000.25
    assert host.clock.stepped_s == 0


@pytest.mark.parametrize("drift", [500e-6, -500e-6])
def test_clock_when_the_wall_is_slewed_then_it_follows_and_counts_no_step(drift: float) -> None:
    """500 ppm is the fastest that NTP slews; a clock left alone would be 43 s off after a day."""
    host = Host(drift)
    furthest = max(abs(host.pass_time(1.0) - host.wall) for _ in range(86_400))
    assert furthest < 0.1
    assert host.clock.stepped_s == 0


@pytest.mark.parametrize("offset", [0.4, -0.4])
def test_clock_when_a_little_off_then_it_closes_in_without_a_jump(offset: float) -> None:
    host = Host()
    host.step(offset)
    told = [host.pass_time(1.0) for _ in range(1000)]
    paces = [after - before for before, after in pairwise(told)]
    assert all(0.99 < pace < 1.01 for pace in paces)
    assert told[-1] == pytest.approx(host.wall, abs=0.001)
    assert host.clock.stepped_s == 0


def test_clock_when_stepped_forward_then_it_is_there_at_once_and_the_step_is_counted() -> None:
    host = Host()
    assert host.step(3600.0) == host.wall
    assert host.pass_time(1.0) == host.wall
    assert host.clock.stepped_s == pytest.approx(3600)


@pytest.mark.parametrize("back_s", [1.0, 60.0, STALL_S])
def test_clock_when_stepped_back_then_it_stands_still_until_the_wall_has_caught_up(
    back_s: float,
) -> None:
    host = Host()
    reached = host.pass_time(100.0)
    host.step(-back_s)
    told = [host.pass_time(back_s / 4) for _ in range(8)]
    assert told[:3] == [reached] * 3
    assert told[4:] == pytest.approx([reached + back_s / 4 * n for n in range(1, 5)])
    assert host.clock.stepped_s == pytest.approx(back_s)


def test_clock_when_stepped_back_further_than_it_waits_then_the_new_time_is_taken_over() -> None:
    host = Host()
    host.pass_time(100.0)
    assert host.step(-STALL_S - 1) == host.wall < START
    assert host.pass_time(1.0) == host.wall
    assert host.clock.stepped_s == pytest.approx(STALL_S + 1)


def test_clock_when_stepped_back_and_forth_then_both_steps_count_and_none_remains() -> None:
    host = Host()
    host.step(-30.0)
    host.step(30.0)
    assert host.pass_time(1.0) == pytest.approx(host.wall)
    assert host.clock.stepped_s == pytest.approx(60)


happenings = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.floats(0, 900)),
        st.tuples(st.just("step"), st.floats(-STALL_S + STEP_S, 5000)),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(happenings, st.floats(-500e-6, 500e-6))
def test_clock_whatever_happens_then_it_never_runs_back_by_what_it_waits_out(
    course: list[tuple[str, float]], drift: float
) -> None:
    host = Host(drift)
    last = host.clock.now()
    for kind, seconds in course:
        now = host.pass_time(seconds) if kind == "pass" else host.step(seconds)
        assert now >= last
        last = now


@settings(deadline=None)
@given(happenings, st.floats(-1e6, -STALL_S - STEP_S))
def test_clock_whatever_happens_then_it_comes_back_to_the_wall(
    course: list[tuple[str, float]], far_back: float
) -> None:
    host = Host()
    for kind, seconds in [*course, ("step", far_back), *course]:
        if kind == "pass":
            host.pass_time(seconds)
        else:
            host.step(seconds)
    stepped = sum(-s for _, s in course if s < 0) * 2
    assert host.pass_time(stepped + 1.0) == pytest.approx(host.wall, abs=STEP_S)


class Watched(float):
    """A look at the wall clock that lingers, if it can, until another thread has looked too."""

    meeting = threading.Barrier(2)

    def __sub__(self, other: float) -> float:
        with suppress(threading.BrokenBarrierError):
            self.meeting.wait(0.2)
        return float(self) - other


def test_clock_when_several_threads_meet_one_step_then_it_is_taken_once() -> None:
    """Every GPU has a thread, and all ask at the same moment."""
    wall = [START]
    clock = SteadyClock(lambda: wall[0], lambda: 17.0)
    wall[0] = Watched(START + 10)
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda _: clock.now(), range(2)))
    assert told == [START + 10] * 2
    assert clock.stepped_s == 10
