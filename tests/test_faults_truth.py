"""The truth that the fault harness holds the books to, worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.faults.compare import Told
from tests.faults.course import Course, Job
from tests.faults.diary import Append, Life, packed, unpacked
from tests.faults.truth import Expected, TrueWindow, expected, observed

T = 1_800_000_000
W = 3


class Script(Course):
    """These jobs, on every GPU."""

    def __init__(self, *jobs: Job) -> None:
        super().__init__(0, "h")
        self._script = jobs

    def jobs(self, gpu: int, begin: float, end: float) -> list[Job]:  # type: ignore[override]  # noqa: ARG002
        return [job for job in self._script if job.start < end and job.end >= begin]


def job(pid: int = 1, start: float = -100, end: float = 100, sm: float = 0.5) -> Job:
    return Job(pid, T + start, T + end, sm, 100, "p", 0, {})


def ticks(begin: float, end: float, step: float = 0.5) -> list[float]:
    return [T + begin + step * n for n in range(int((end - begin) / step) + 1)]


def windows(*jobs: Job, reads: Sequence[float], resume: float = 0.0) -> dict[int, TrueWindow]:
    found = observed(Script(*jobs), 0, list(reads), resume, W)
    return {start - T: window for start, window in found.items()}


def figures(window: TrueWindow) -> dict[int, tuple[float, float, float]]:
    return {
        pid: (process.present, window.held_by(process), process.busy)
        for (pid, _), process in window.processes.items()
    }


def test_window_when_one_job_runs_then_it_held_it_all_and_was_busy_in_part() -> None:
    window = windows(job(sm=0.25), reads=ticks(0, 3))[0]
    assert (window.observed, window.held, window.busy) == (3000, 3000, 750)
    assert figures(window) == {1: (3000, 3000, 750)}
    assert window.whole


def test_window_when_a_job_starts_in_it_then_it_counts_from_its_start() -> None:
    window = windows(job(start=1.375), reads=ticks(0, 3))[0]
    assert figures(window) == {1: (1625, 1625, 812.5)}
    assert not window.whole


def test_window_when_a_job_ends_in_it_then_it_was_seen_up_to_the_reading_before() -> None:
    window = windows(job(end=1.375, sm=0.5), reads=ticks(0, 3))[0]
    assert figures(window) == {1: (1000, 1000, 687.5)}


def test_window_when_two_share_it_then_what_was_idle_is_halved_while_both_were_there() -> None:
    window = windows(job(1, sm=0.5), job(2, start=1.0, sm=0.0), reads=ticks(0, 3))[0]
    assert window.busy == 1500
    shared = 1500 * 2000 / 3000, 1500 * 1000 / 3000
    assert figures(window) == {1: (3000, 1500 + shared[0], 1500), 2: (2000, shared[1], 0)}


def test_window_when_a_reading_straddles_its_end_then_each_part_gets_its_time() -> None:
    found = windows(job(sm=0.5), reads=[T + 2.5, T + 4.5])
    assert {start: w.observed for start, w in found.items()} == {0: 500, 3: 1500}
    assert {start: w.busy for start, w in found.items()} == {0: 250, 3: 750}


def test_window_when_nobody_read_for_too_long_then_that_time_was_not_observed() -> None:
    found = windows(reads=[T, T + 1, T + 4.5, T + 5])
    assert {start: w.observed for start, w in found.items()} == {0: 1000, 3: 500}


def test_window_when_an_earlier_life_wrote_it_then_it_was_not_observed_again() -> None:
    found = windows(reads=ticks(1, 6), resume=T + 3)
    assert {start: w.observed for start, w in found.items()} == {3: 3000}


def life(number: int = 0, kept: Sequence[int] = (), **facts: object) -> Life:
    """A life that read GPU 0 from 0 to 12 and kept the windows that start then."""
    made = Life(number, reads={0: ticks(0, 12)}, **facts)  # type: ignore[arg-type]
    for n, start in enumerate(kept):
        made.appends[n] = Append(1, T + start + W, [(0, T + start)], [T + start], safe=True)
    return made


def books(*lives: Life) -> Expected:
    return expected(Script(job()), list(lives), W)


def test_books_when_all_was_kept_then_all_must_be_there() -> None:
    found = books(life(kept=[0, 3, 6, 9], ended=True))
    assert {start - T for _, start in found.must} == {0, 3, 6, 9}
    assert {start - T for start in found.health} == {0, 3, 6, 9}
    assert not found.faults


def test_books_when_an_append_was_not_on_disk_at_the_end_then_its_windows_may_be_there() -> None:
    killed = life(kept=[0, 3, 6, 9])
    killed.appends[3].safe = False
    found = books(killed)
    assert {start - T for _, start in found.may} == {9}
    assert not found.faults


def test_books_when_the_last_windows_were_in_memory_then_they_are_unkept() -> None:
    found = books(life(kept=[0]))
    unkept = {start - T: window.until - T for (_, start), window in found.unkept.items()}
    assert unkept == {3: 6, 6: 9, 9: 12}
    assert not found.faults


def test_window_when_killed_within_it_then_it_was_observed_up_to_the_last_reading() -> None:
    killed = Life(0, reads={0: ticks(0, 4)})
    found = books(killed)
    assert {start - T: window.until - T for (_, start), window in found.unkept.items()} == {
        0: 3,
        3: 4,
    }


def test_window_when_the_next_life_kept_it_then_it_is_not_lost() -> None:
    killed, after = Life(0, reads={0: ticks(0, 4)}), Life(1, reads={0: ticks(4.5, 9)})
    after.appends[0] = Append(1, T + 6, [(0, T + 3)], [], safe=True)
    found = books(killed, after)
    assert {start - T for _, start in found.unkept} == {0, 6}
    assert found.must[0, T + 3].observed == 1500


@pytest.mark.parametrize(
    ("lives", "said"),
    [
        ([life(kept=[0, 6, 9])], "at 1800000003 was never kept"),
        ([life(kept=[0, 3, 6], ended=True)], "1 windows were never kept"),
        ([life(kept=[0, 3, 6, 9, 12])], "at 1800000012 was kept, but not observed"),
        ([life(0, kept=[0]), life(1, kept=[0, 3, 6, 9])], "life 1, append 0: GPU 0 at 1800000000"),
        ([life(resume=T + 9.0)], "life 0 resumed at 1800000009.0, 0 was written"),
    ],
)
def test_books_when_an_agent_did_wrong_then_it_is_a_fault(lives: list[Life], said: str) -> None:
    assert any(said in fault for fault in books(*lives).faults)


def test_gaps_when_they_touch_or_overlap_then_they_cover_as_one() -> None:
    gaps = [{"start": s, "end": e} for s, e in [(0, 5), (3, 4), (5, 9), (20, 23)]]
    told = Told(gaps)
    assert told.covers(0, 9)
    assert told.covers(20, 23)
    assert not told.covers(8, 10)
    assert not told.covers(-1, 2)
    assert not told.covers(9, 20)
    assert told.covers(12, 12)


def test_windows_when_packed_then_they_come_back() -> None:
    kept = [(0, 3), (63, 3), (5, 6)]
    assert sorted(unpacked(packed(kept))) == sorted(kept)
