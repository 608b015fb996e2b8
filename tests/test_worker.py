"""A fleet with a known truth, cut into windows: nothing is lost, doubled or made up."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuledger_agent.devices.base import (
    Context,
    DeviceError,
    Fault,
    ProcessReading,
    Reading,
    SmSource,
)
from gpuledger_agent.devices.simulated import (
    SimulatedClock,
    SimulatedGpus,
    SimulatedProcess,
    SimulatedProcesses,
)
from gpuledger_agent.processes import ProcessFacts
from gpuledger_agent.records import GpuUse, ProcessKey
from gpuledger_agent.worker import GpuWorker
from tests.fleet_course import (
    BASE,
    COURSES,
    GpuCourse,
    Veil,
    Veiled,
    assert_one_after_the_other,
    courses,
    measure,
    process,
    truth,
    worker_on,
)
from tests.window_books import MIG

ROUNDING_MS = 3
"""Parts are rounded so that they add up exactly: each may be a little off for the others."""


def run(course: GpuCourse, veil: Veil, window_s: int) -> list[GpuUse]:
    clock = SimulatedClock(0.0)
    return measure(worker_on(course.processes, clock, veil, window_s=window_s), clock, course.ticks)


def without_process_figures(reading: Reading) -> Reading:
    blind = [replace(p, sm_fraction=None, sm_pct_max=None) for p in reading.processes]
    return replace(reading, processes=tuple(blind))


def without_device_figure(reading: Reading) -> Reading:
    return replace(reading, sm_fraction=None, sm_pct_max=None, sm_source=SmSource.UNKNOWN)


def as_instance(reading: Reading) -> Reading:
    return replace(without_process_figures(reading), gpu=MIG, sm_source=SmSource.GPM)


VEILS = [lambda r: r, without_process_figures, without_device_figure, as_instance]


@pytest.mark.parametrize("veil", VEILS, ids=["full", "no process SM", "no device SM", "MIG"])
@COURSES
@given(course=courses(), window_s=st.sampled_from([1, 2, 10, 60]))
def test_windows_whatever_the_course_then_they_tell_the_truth(
    veil: Veil, course: GpuCourse, window_s: int
) -> None:
    uses = run(course, veil, window_s)
    assert_one_after_the_other(uses)
    expected = truth(course, window_s)
    assert [use.window.start for use in uses] == sorted(expected)
    for use in uses:
        true, share = expected[use.window.start], use.gpu.share
        near = pytest.approx
        assert use.observed_ms == near(true.observed * share, abs=0.51)
        assert use.held_ms == near(true.held * share, abs=0.51)
        assert use.sm_busy_ms == near(true.busy * share, abs=0.51)
        told = {(row.key.pid, row.key.start): row for row in use.processes}
        assert told.keys() == {k for k, p in true.processes.items() if round(p.present)}
        for key, row in told.items():
            one = true.processes[key]
            measured = row.sm_source is SmSource.PROCESS
            busy = (one.busy if measured else one.apportioned) * share
            rest = (true.held - true.busy) * share
            held = busy + rest * one.shared / true.held
            assert row.present_ms == near(one.present, abs=0.51)
            assert row.sm_busy_ms == near(busy, abs=ROUNDING_MS)
            assert row.held_ms == near(held, abs=ROUNDING_MS)
            assert row.mem_mib_mean == near(one.mem_ms / one.present, abs=0.51)
            assert row.mem_mib_max == one.mem_max


@COURSES
@given(courses(), st.randoms(use_true_random=False), st.sampled_from([1, 10, 60]))
def test_windows_whatever_the_driver_withholds_then_the_books_balance(
    course: GpuCourse, rng: random.Random, window_s: int
) -> None:
    """Figures come and go from tick to tick, reads fail, samples are late."""

    answers: list[bool] = []

    def veil(reading: Reading) -> Reading:
        answers.append(rng.random() > 0.1)
        if not answers[-1]:
            raise DeviceError(Fault.FAILED, "not now")
        for doubt in (without_process_figures, without_device_figure, late, garbled):
            if rng.random() < 0.3:
                reading = doubt(reading)
        return reading

    def late(reading: Reading) -> Reading:
        return replace(reading, sm_fraction=None)

    def garbled(reading: Reading) -> Reading:
        one = [replace(p, sm_fraction=rng.choice([None, 0.0, 1.3])) for p in reading.processes]
        return replace(reading, processes=tuple(one), sm_fraction=rng.choice([-0.1, 0.0, 1.1]))

    uses = run(course, veil, window_s)
    assert_one_after_the_other(uses)
    answered = [tick for tick, good in zip(course.ticks, answers, strict=True) if good]
    expected = truth(GpuCourse(answered, []), window_s)
    observed = {use.window.start: use.observed_ms for use in uses}
    assert observed == pytest.approx({k: w.observed for k, w in expected.items()}, abs=0.51)


def test_tick_when_it_spans_windows_then_each_gets_its_part() -> None:
    clock = SimulatedClock(0.0)
    ticks = [BASE + 0.5, BASE + 1.25, BASE + 3.75, BASE + 4.0]
    uses = measure(worker_on([process()], clock, window_s=1), clock, ticks)
    parts = [(use.window.start - BASE, use.observed_ms, use.sm_busy_ms) for use in uses]
    assert parts == [(0, 500, 250), (1, 1000, 500), (2, 1000, 500), (3, 1000, 500)]


def test_gap_when_nobody_watched_then_it_is_unobserved_and_not_idle() -> None:
    clock = SimulatedClock(0.0)
    ticks = [BASE + s for s in (0, 1, 2, 13, 14, 47, 48, 51)]
    uses = measure(worker_on([process()], clock), clock, ticks)
    parts = [(use.window.start - BASE, use.observed_ms, use.held_ms) for use in uses]
    assert parts == [(0, 2000, 2000), (10, 1000, 1000), (40, 3000, 3000), (50, 1000, 1000)]
    assert {row.present_ms for use in uses for row in use.processes} == {2000, 1000, 3000}


@pytest.mark.parametrize(("tick_s", "bridged_s"), [(0.25, 3.0), (1.0, 3.0), (5.0, 15.0)])
def test_gap_when_it_is_short_then_the_next_tick_covers_it(tick_s: float, bridged_s: float) -> None:
    clock = SimulatedClock(BASE)
    gpus = SimulatedGpus("h", "H100", 81_559, 1, [], clock)
    table = SimulatedProcesses([])
    for gap_s, observed in ((bridged_s, round(bridged_s * 1000)), (bridged_s + 0.01, None)):
        worker = GpuWorker(gpus.device(0), table, clock, window_s=60, tick_s=tick_s)
        uses = measure(worker, clock, [BASE, BASE + gap_s])
        assert [use.observed_ms for use in uses] == ([observed] if observed else [])


def test_process_when_it_dies_inside_a_window_then_its_last_sight_is_booked() -> None:
    clock = SimulatedClock(0.0)
    dying = process(end=BASE + 4.6)
    [use] = measure(worker_on([dying], clock), clock, [BASE + n for n in range(9)])
    [row] = use.processes
    assert (use.observed_ms, row.present_ms, row.held_ms, row.sm_busy_ms) == (
        8000,
        4000,
        4000,
        2000,
    )


def test_pid_when_reused_inside_a_window_then_two_processes_have_rows() -> None:
    clock = SimulatedClock(0.0)
    lives = [process(start=BASE - 5, end=BASE + 3.1), process(start=BASE + 5, sm=0.0)]
    [use] = measure(worker_on(lives, clock), clock, [BASE + n for n in range(9)])
    told = {row.key.start - BASE: (row.present_ms, row.sm_busy_ms) for row in use.processes}
    assert told == {-5: (3000, 1500), 5: (3000, 0)}


def with_table(
    known: SimulatedProcess, facts: ProcessFacts, clock: SimulatedClock, veil: Veil
) -> GpuWorker:
    """A worker whose table says the same of every pid, whoever lives."""

    class Table(SimulatedProcesses):
        def identify(self, pid: int, now: float) -> ProcessFacts:  # noqa: ARG002
            return facts

    gpu = SimulatedGpus("h", "H100", 81_559, 1, [known], clock).device(0)
    return GpuWorker(Veiled(gpu, veil), Table([]), clock, window_s=10, tick_s=1.0)


def test_pid_when_proc_does_not_show_it_then_it_counts_since_the_tick_before() -> None:
    clock = SimulatedClock(0.0)
    hidden = ProcessFacts(ProcessKey(7, 0), started=0.0, visible=False)
    worker = with_table(process(start=BASE + 2.5), hidden, clock, lambda reading: reading)
    [use] = measure(worker, clock, [BASE + n for n in range(6)])
    [row] = use.processes
    assert (row.key, row.present_ms, row.held_ms) == (ProcessKey(7, 0), 3000, 3000)


def test_process_when_only_a_sample_is_left_of_it_then_its_work_counts_and_no_time() -> None:
    clock = SimulatedClock(0.0)
    dead = process(end=BASE + 3.1)

    def veil(reading: Reading) -> Reading:
        if clock.at != BASE + 4:
            return reading
        last = ProcessReading(dead.pid, Context.COMPUTE, None, 0.2, 20, listed=False)
        return replace(reading, processes=(last,), sm_fraction=0.2)

    worker = with_table(dead, dead.facts, clock, veil)
    [use] = measure(worker, clock, [BASE + n for n in range(6)])
    [row] = use.processes
    assert (row.present_ms, row.sm_busy_ms, row.held_ms) == (3000, 1700, 3000)


def test_gpu_when_cut_into_instances_then_each_has_windows_of_its_own() -> None:
    """The second instance is removed inside the window, and keeps what it had."""
    clock = SimulatedClock(0.0)

    class Cut(Veiled):
        def read(self) -> tuple[Reading, ...]:
            [whole] = self.device.read()
            rest = replace(whole, gpu=replace(MIG, uuid="MIG-2", share=1 / 7), processes=())
            return (as_instance(whole), rest)[: 2 if clock.at < BASE + 6 else 1]

    worker = worker_on([process()], clock)
    worker.device = Cut(worker.device, as_instance)
    uses = measure(worker, clock, [BASE + n for n in range(9)])
    told = {use.gpu.uuid: (use.observed_ms, use.held_ms) for use in uses}
    assert told == {"MIG-1": (2286, 2286), "MIG-2": (714, 357)}
