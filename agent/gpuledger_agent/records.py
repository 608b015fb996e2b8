"""Closed windows: the rows that leave a host, before they are put into columns.

Field names and units are those of `telemetry.proto`, which documents them.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpuledger_agent.devices.base import Context, GpuInfo, SmSource


@dataclass(frozen=True, slots=True)
class Window:
    """An aligned interval: `start` in seconds since the epoch, a multiple of `seconds`."""

    start: int
    seconds: int

    @property
    def end(self) -> int:
        """First second after the window."""
        return self.start + self.seconds


@dataclass(frozen=True, slots=True)
class ProcessKey:
    """A process on this host: pid, and start in seconds since the epoch (0 if not visible).

    pid 0 stands for GPU work that no listed process explains.
    """

    pid: int
    start: int


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one process did on one GPU in one window."""

    key: ProcessKey
    context: Context
    present_ms: int
    held_ms: int
    sm_busy_ms: int
    sm_pct_max: int
    sm_source: SmSource
    mem_mib_mean: int | None
    mem_mib_max: int | None


@dataclass(frozen=True, slots=True)
class GpuUse:
    """What one GPU did in one window, with the processes on it."""

    window: Window
    gpu: GpuInfo
    observed_ms: int
    held_ms: int
    sm_busy_ms: int
    sm_pct_max: int
    sm_source: SmSource
    mem_mib_mean: int | None
    mem_mib_max: int | None
    power_w_mean: int | None
    power_w_max: int | None
    temperature_c_max: int | None
    sm_clock_mhz_mean: int | None
    tensor_pct_mean: int | None
    dram_pct_mean: int | None
    ecc_uncorrected: int | None
    xid: int
    processes: tuple[ProcessUse, ...]


@dataclass(frozen=True, slots=True)
class Owner:
    """Who a workload belongs to; "" where nobody said. `source` names the resolver."""

    team: str = ""
    model: str = ""
    endpoint: str = ""
    use_case: str = ""
    pool: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class HealthRow:
    """How the agent itself fared in one window."""

    window: Window
    ticks: int
    ticks_missed: int
    tick_ms_max: int
    gpus: int
    gpus_failed: int
    processes: int
    processes_unattributed: int
    spool_batches: int
    spool_bytes: int
    rows_dropped: int
    rows_refused: int
    cpu_ms: int
    rss_mib: int
    clock_step_ms: int
    agent_version: str
