"""Readings to measure, and what must be true of every window whatever was measured."""

from __future__ import annotations

from gpuledger_agent.devices.base import Context, GpuInfo, ProcessReading, Reading, SmSource
from gpuledger_agent.meter import GpuMeter, Presence
from gpuledger_agent.records import GpuUse, ProcessKey, ProcessUse, Window

WINDOW = Window(1_700_000_000, 10)
GPU = GpuInfo("GPU-1", 0, "H100", 81_559)
MIG = GpuInfo("MIG-1", 0, "H100", 20_096, 2 / 7, "GPU-1", "2g.20gb")


def key(pid: int) -> ProcessKey:
    return ProcessKey(pid, 1_600_000_000 + pid)


def there(
    pid: int,
    ms: float = 1000.0,
    sm: float | None = None,
    mem: int | None = None,
    *,
    listed: bool = True,
) -> Presence:
    """A process that was there for the last `ms` of a piece."""
    pct = None if sm is None else round(100 * sm)
    return Presence(key(pid), ProcessReading(pid, Context.COMPUTE, mem, sm, pct, listed), ms)


def add(
    meter: GpuMeter,
    *present: Presence,
    busy: float | None = 0.0,
    ms: float = 1000.0,
    gpu: GpuInfo = GPU,
    source: SmSource = SmSource.DEVICE,
    **gauges: int,
) -> None:
    """Book a piece of `ms` that ended with these processes there and the SMs busy so far."""
    pct = None if busy is None else round(100 * busy)
    processes = tuple(p.reading for p in present)
    meter.add(Reading(gpu, processes, busy, pct, source, **gauges), present, ms)  # type: ignore[arg-type]


def closed(meter: GpuMeter) -> GpuUse:
    """The window, which was observed and balances."""
    use = meter.close()
    assert use is not None
    assert_balanced(use)
    return use


def rows(use: GpuUse) -> dict[int, ProcessUse]:
    """The processes of a window by pid; each has one row."""
    by_pid = {row.key.pid: row for row in use.processes}
    assert len(by_pid) == len(use.processes)
    return by_pid


def assert_balanced(use: GpuUse) -> None:
    """The identities of docs/books.md, in whole milliseconds, without tolerance."""
    window, found = use.window, use.processes
    assert window.start % window.seconds == 0
    assert 0 <= use.sm_busy_ms <= use.held_ms <= use.observed_ms <= 1000 * window.seconds
    assert sum(row.held_ms for row in found) == use.held_ms
    assert sum(row.sm_busy_ms for row in found) == use.sm_busy_ms
    assert 0 <= use.sm_pct_max <= 100
    for row in found:
        assert 0 <= row.sm_busy_ms <= row.held_ms
        assert 0 <= row.present_ms <= 1000 * window.seconds
        assert 0 <= row.sm_pct_max <= 100
        assert row.present_ms or row.held_ms, "a row that says nothing"
        _assert_mean_below_max(row.mem_mib_mean, row.mem_mib_max)
    _assert_mean_below_max(use.mem_mib_mean, use.mem_mib_max)
    _assert_mean_below_max(use.power_w_mean, use.power_w_max)
    assert len({row.key for row in found}) == len(found)


def _assert_mean_below_max(mean: int | None, highest: int | None) -> None:
    assert (mean is None) == (highest is None)
    if mean is not None and highest is not None:
        assert 0 <= mean <= highest
