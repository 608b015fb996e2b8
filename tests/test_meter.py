"""One window of one GPU: what is busy goes to those who ran, the rest to those who were there."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_agent.devices.base import SmSource
from gpuledger_agent.meter import SKEW, UNEXPLAINED, GpuMeter, Presence
from tests.window_books import GPU, MIG, WINDOW, add, closed, rows, there


@pytest.fixture
def meter() -> GpuMeter:
    return GpuMeter(WINDOW)


def test_window_when_never_observed_then_there_is_no_row(meter: GpuMeter) -> None:
    assert meter.close() is None


def test_window_when_nobody_is_there_then_it_is_observed_and_unallocated(meter: GpuMeter) -> None:
    add(meter, ms=2500.4)
    use = closed(meter)
    assert (use.observed_ms, use.held_ms, use.processes) == (2500, 0, ())


def test_sole_holder_when_the_driver_has_no_figure_for_it_then_it_gets_all(meter: GpuMeter) -> None:
    add(meter, there(7), busy=0.3)
    row = rows(closed(meter))[7]
    assert (row.held_ms, row.sm_busy_ms, row.sm_source) == (1000, 300, SmSource.DEVICE)


def test_sharers_when_the_driver_has_no_figure_for_them_then_equal_parts(meter: GpuMeter) -> None:
    add(meter, there(7), there(8), busy=0.3)
    for row in rows(closed(meter)).values():
        assert (row.present_ms, row.held_ms, row.sm_busy_ms) == (1000, 500, 150)
        assert row.sm_source is SmSource.APPORTIONED


def test_sharers_when_measured_then_busy_goes_to_who_ran_and_the_rest_in_equal_parts(
    meter: GpuMeter,
) -> None:
    add(meter, there(7, sm=0.6), there(8, sm=0.0), busy=0.6)
    found = rows(closed(meter))
    assert (found[7].sm_busy_ms, found[8].sm_busy_ms) == (600, 0)
    assert (found[7].held_ms, found[8].held_ms) == (800, 200)
    assert {row.sm_source for row in found.values()} == {SmSource.PROCESS}
    assert (found[7].sm_pct_max, found[8].sm_pct_max) == (60, 0)


def test_sharers_when_their_figures_exceed_the_device_then_they_divide_what_it_says(
    meter: GpuMeter,
) -> None:
    add(meter, there(7, sm=0.9), there(8, sm=0.3), busy=0.8)
    found = rows(closed(meter))
    assert (found[7].sm_busy_ms, found[8].sm_busy_ms) == (600, 200)


def test_sharers_when_one_came_later_then_time_is_shared_from_then_on(meter: GpuMeter) -> None:
    add(meter, there(7), there(8, ms=200))
    found = rows(closed(meter))
    assert (found[7].present_ms, found[8].present_ms) == (1000, 200)
    assert (found[7].held_ms, found[8].held_ms) == (900, 100)


def test_holders_when_all_came_later_then_the_time_before_is_unallocated(meter: GpuMeter) -> None:
    add(meter, there(7, ms=300), there(8, ms=300))
    use = closed(meter)
    assert (use.observed_ms, use.held_ms) == (1000, 300)


def test_process_when_it_dies_inside_the_window_then_it_is_still_counted(meter: GpuMeter) -> None:
    for _ in range(4):
        add(meter, there(7, sm=1.0, mem=900), busy=1.0)
    add(meter, there(7, ms=0, sm=0.5, listed=False), busy=0.5)
    for _ in range(5):
        add(meter)
    use = closed(meter)
    row = rows(use)[7]
    assert (use.observed_ms, row.present_ms, row.sm_busy_ms) == (10_000, 4000, 4500)
    assert (row.mem_mib_mean, row.mem_mib_max) == (900, 900)


def test_memory_when_it_swings_inside_the_window_then_mean_and_maximum_show_it(
    meter: GpuMeter,
) -> None:
    for tick in range(10):
        mem = 40_960 if tick == 6 else 2048
        add(meter, there(7, mem=mem), mem_used_mib=mem + 500)
    use = closed(meter)
    row = rows(use)[7]
    assert (row.mem_mib_mean, row.mem_mib_max) == (5939, 40_960)
    assert (use.mem_mib_mean, use.mem_mib_max) == (6439, 41_460)


def test_busy_when_nobody_is_listed_then_it_is_booked_under_pid_0(meter: GpuMeter) -> None:
    add(meter, busy=0.4)
    use = closed(meter)
    [row] = use.processes
    assert (row.key, row.sm_busy_ms, row.held_ms) == (UNEXPLAINED, 400, 400)
    assert (row.present_ms, row.mem_mib_max, row.sm_source) == (0, None, SmSource.DEVICE)


def test_busy_when_it_goes_beyond_all_listed_then_the_excess_is_booked_under_pid_0(
    meter: GpuMeter,
) -> None:
    add(meter, there(7, sm=0.2), there(8, sm=0.1), busy=0.9)
    found = rows(closed(meter))
    assert {pid: row.sm_busy_ms for pid, row in found.items()} == {7: 200, 8: 100, 0: 600}
    assert (found[7].held_ms, found[8].held_ms) == (250, 150)


@pytest.mark.parametrize(("excess", "unexplained"), [(SKEW - 0.01, 0), (SKEW + 0.01, 110)])
def test_busy_when_it_goes_a_little_beyond_then_it_is_the_skew_of_two_samplers(
    meter: GpuMeter, excess: float, unexplained: int
) -> None:
    add(meter, there(7, sm=0.4), busy=0.4 + excess)
    found = rows(closed(meter))
    assert sum(row.sm_busy_ms for pid, row in found.items() if pid == 0) == unexplained


def test_busy_when_the_only_one_there_came_at_the_end_then_it_is_not_put_down_to_it(
    meter: GpuMeter,
) -> None:
    """A process whose first reading is at the window's very end, which the driver calls idle."""
    add(meter, there(7, ms=0, sm=0.0), busy=0.4)
    use = closed(meter)
    assert {pid: row.sm_busy_ms for pid, row in rows(use).items()} == {0: 400}


def test_process_when_it_has_neither_time_nor_work_in_the_window_then_it_has_no_row(
    meter: GpuMeter,
) -> None:
    add(meter, there(7, sm=0.0), there(8, ms=0, sm=0.0))
    assert rows(closed(meter)).keys() == {7}


def test_busy_when_the_driver_samples_late_then_the_next_sample_covers_it(meter: GpuMeter) -> None:
    add(meter, there(7), busy=None)
    add(meter, there(7), busy=0.5)
    add(meter, there(7), busy=0.5)
    assert closed(meter).sm_busy_ms == 1500


def test_busy_when_the_window_ends_before_the_sample_then_the_last_one_goes_on(
    meter: GpuMeter,
) -> None:
    add(meter, there(7), busy=0.5)
    add(meter, there(7), busy=None)
    assert closed(meter).sm_busy_ms == 1000


def test_use_when_nobody_offers_it_then_it_is_unknown_and_not_idle(meter: GpuMeter) -> None:
    add(meter, there(7), there(8), busy=None, source=SmSource.UNKNOWN)
    use = closed(meter)
    assert (use.sm_source, use.sm_busy_ms, use.held_ms) == (SmSource.UNKNOWN, 0, 1000)
    assert {row.sm_source for row in use.processes} == {SmSource.UNKNOWN}


def test_use_when_only_processes_have_figures_then_their_sum_is_the_device(meter: GpuMeter) -> None:
    add(meter, there(7, sm=0.3), there(8, sm=0.1), busy=None, source=SmSource.UNKNOWN)
    use = closed(meter)
    assert (use.sm_source, use.sm_busy_ms) == (SmSource.PROCESS, 400)
    assert rows(use)[7].sm_busy_ms == 300


def test_source_when_it_changes_inside_the_window_then_a_row_claims_the_least_certain(
    meter: GpuMeter,
) -> None:
    add(meter, there(7, sm=0.3), busy=0.3)
    add(meter, there(7), there(8), busy=0.3)
    found = rows(closed(meter))
    assert found[7].sm_source is SmSource.APPORTIONED


def test_instance_when_it_is_two_of_seven_slices_then_times_are_two_sevenths(
    meter: GpuMeter,
) -> None:
    for _ in range(10):
        add(meter, there(7, mem=900), busy=0.5, gpu=MIG, source=SmSource.GPM)
    use = closed(meter)
    row = rows(use)[7]
    assert (use.observed_ms, use.held_ms, use.sm_busy_ms) == (2857, 2857, 1429)
    assert (row.present_ms, row.mem_mib_max, row.sm_source) == (10_000, 900, SmSource.GPM)


def test_gauges_when_read_then_means_weigh_time_and_the_latest_fault_is_kept(
    meter: GpuMeter,
) -> None:
    add(meter, ms=3000, power_w=100, temperature_c=60, ecc_uncorrected=1, xid=48, tensor_pct=10)
    add(meter, ms=1000, power_w=500, temperature_c=50, ecc_uncorrected=2, sm_clock_mhz=1755)
    use = closed(meter)
    assert (use.power_w_mean, use.power_w_max, use.temperature_c_max) == (200, 500, 60)
    assert (use.ecc_uncorrected, use.xid, use.tensor_pct_mean) == (2, 48, 10)
    assert (use.sm_clock_mhz_mean, use.dram_pct_mean, use.mem_mib_max) == (1755, None, None)


fractions = st.none() | st.sampled_from([0.0, 1.0]) | st.floats(-0.1, 1.3)
lengths = st.sampled_from([0.0, 0.2, 1000.0]) | st.floats(0, 1000)


@st.composite
def pieces(draw: st.DrawFn) -> tuple[Sequence[Presence], float | None, float, SmSource]:
    """Anything that up to a second can bring, sensible or not."""
    ms = draw(lengths)
    pids = draw(st.lists(st.integers(1, 5), unique=True, max_size=4))
    present = []
    for pid in pids:
        listed = draw(st.booleans())
        part = draw(st.sampled_from([0.0, 1.0]) | st.floats(0, 1)) if listed else 0.0
        sm = draw(st.none() | st.sampled_from([0.0, 1e-9]) | st.floats(0, 1.3))
        mem = draw(st.none() | st.integers(0, 81_559))
        present.append(there(pid, ms * part, sm, mem, listed=listed))
    source = draw(st.sampled_from([SmSource.DEVICE, SmSource.GPM, SmSource.UNKNOWN]))
    busy = None if source is SmSource.UNKNOWN else draw(fractions)
    return present, busy, ms, source


@settings(deadline=None, max_examples=150)
@given(st.lists(pieces(), min_size=1, max_size=6), st.sampled_from([GPU, MIG]))
def test_window_whatever_it_brings_then_its_books_balance_to_the_millisecond(
    course: list[tuple[Sequence[Presence], float | None, float, SmSource]], gpu: object
) -> None:
    meter = GpuMeter(WINDOW)
    for present, busy, ms, source in course:
        add(meter, *present, busy=busy, ms=ms, gpu=gpu, source=source)  # type: ignore[arg-type]
    use = closed(meter)
    observed = sum(ms for _, _, ms, _ in course) * (MIG.share if gpu is MIG else 1)
    assert use.observed_ms == pytest.approx(observed, abs=0.51)
