"""Which windows the agent's own rows are about: each once, whatever is done to the clock."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_agent.clock import STALL_S, STEP_S, SteadyClock
from gpuledger_agent.records import Window
from gpuledger_agent.rounds import GRACE_S, Rounds

START = 1_700_000_000
LENGTHS = (1, 2, 3, 10, 60)


class Host:
    """An agent's loop on a machine whose clock somebody sets."""

    def __init__(self, window_s: int, began_s: float = 0.0, since: float = 0.0) -> None:
        self.wall, self.steady = START + began_s, 0.0
        self.clock = SteadyClock(lambda: self.wall, lambda: self.steady)
        self.rounds = Rounds(self.clock, window_s, since)
        self.written: list[Window] = []
        self.waited: list[float] = []

    def live(self, seconds: float) -> None:
        """Wait and write, as the daemon does, for so long."""
        until = self.steady + seconds
        while self.steady < until:
            patience = self.rounds.patience()
            self.waited.append(patience)
            self.pass_time(patience)
            if (window := self.rounds.over()) is not None:
                assert window.end + GRACE_S <= self.clock.now()
                self.written.append(window)

    def pass_time(self, seconds: float) -> None:
        self.steady += seconds
        self.wall += seconds

    @property
    def starts(self) -> list[int]:
        return [window.start for window in self.written]


@pytest.mark.parametrize("window_s", LENGTHS)
def test_rounds_when_nothing_happens_then_no_window_is_left_out(window_s: int) -> None:
    host = Host(window_s, began_s=0.7)
    host.live(20 * window_s + GRACE_S)
    first = START // window_s * window_s
    assert host.starts[:20] == [first + n * window_s for n in range(20)]


steps = st.lists(
    st.tuples(st.floats(0, 90), st.floats(-STALL_S + STEP_S, 2000)), min_size=1, max_size=6
)


@settings(deadline=None)
@given(st.sampled_from(LENGTHS), st.floats(0, 60), steps)
def test_rounds_when_the_clock_is_set_then_no_window_comes_twice_and_the_present_comes(
    window_s: int, began_s: float, course: list[tuple[float, float]]
) -> None:
    host = Host(window_s, began_s)
    for seconds, step_s in course:
        host.live(seconds)
        host.wall += step_s
        host.clock.now()  # seen apart from the next, so that none is further than is waited out
    back = sum(-step_s for _, step_s in course if step_s < 0)
    host.live(back + 3 * (window_s + GRACE_S))
    assert all(before < after for before, after in pairwise(host.starts))
    assert host.wall - host.written[-1].end < 2 * window_s + GRACE_S
    assert max(host.waited) <= window_s + GRACE_S


def test_rounds_while_time_stands_still_then_nothing_is_over() -> None:
    host = Host(1)
    host.live(10)
    before = len(host.written)
    host.wall -= 60
    host.live(55)
    assert len(host.written) == before
    host.live(10)
    assert host.starts == [START + n for n in range(len(host.written))]


def test_rounds_when_the_clock_is_set_far_back_then_they_go_on_there() -> None:
    host = Host(10)
    host.live(60)
    host.wall -= 5000
    host.live(60)
    assert host.written[-1].end == pytest.approx(host.wall, abs=10 + GRACE_S)


def test_rounds_when_paused_then_they_go_on_with_the_present() -> None:
    host = Host(10)
    host.live(30)
    host.pass_time(1000)
    host.live(30)
    gaps = [after - before for before, after in pairwise(host.starts)]
    assert sorted(gaps)[-2:] == [10, pytest.approx(1000, abs=20)]


@pytest.mark.parametrize("ahead_s", [-500, -3, 0, 7, 200])
def test_rounds_when_an_earlier_run_has_written_then_they_go_on_after_it(ahead_s: int) -> None:
    """A window's row that came twice would replace what the first said of the clock and losses."""
    host = Host(10, since=START + ahead_s)
    host.live(300)
    assert host.starts[0] == max(START, START + ahead_s) // 10 * 10
    assert len(set(host.starts)) == len(host.starts)
