"""One window of this host, measured as the daemon does it, for a human or a script to read."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from gpuledger_agent.attribution.base import Kind
from gpuledger_agent.clock import SteadyClock
from gpuledger_agent.config import AgentConfig
from gpuledger_agent.daemon import make_attributor, make_processes
from gpuledger_agent.devices.base import Device, DeviceError, DeviceLayer
from gpuledger_agent.driver import REMEDIES
from gpuledger_agent.encode import OwnedGpu, OwnedGrant, OwnedProcess
from gpuledger_agent.pipeline import Pipeline
from gpuledger_agent.records import GpuUse, Owner
from gpuledger_agent.rounds import GRACE_S
from gpuledger_agent.spool import Spool
from gpuledger_agent.text import one_line
from gpuledger_agent.user_names import UserNames
from gpuledger_agent.watch import GpuWatch
from gpuledger_agent.worker import GpuWorker

_PROCESS_COLUMNS = (
    "PID",
    "PROCESS",
    "USER",
    "WORKLOAD",
    "TEAM",
    "MODEL",
    "ENDPOINT",
    "POOL",
    "HELD %",
    "SM %",
    "SM FROM",
    "MEM MiB",
    "MAX",
)


def take_sample(
    config: AgentConfig, layer: DeviceLayer, talk: Callable[[str], None]
) -> list[OwnedGpu]:
    """Wait for the next whole window and return it, GPUs by index.

    `talk` is told what is waited for. Raises click.ClickException if there is no driver.
    """
    clock = SteadyClock()
    attributor = make_attributor(config, clock)
    processes = make_processes(config, attributor)
    pipeline = Pipeline(
        processes, attributor, Spool(None), host_pool=config.pool, user_name=UserNames()
    )

    def make_worker(device: Device) -> GpuWorker:
        return GpuWorker(device, processes, clock, window_s=config.window_s, tick_s=config.tick_s)

    closed: queue.SimpleQueue[list[GpuUse]] = queue.SimpleQueue()
    try:
        layer.open()
        watches = [
            GpuWatch(layer, index, make_worker, closed.put, talk, clock, config.tick_s)
            for index in range(layer.count())
        ]
    except DeviceError as error:
        raise click.ClickException(f"{error}; {REMEDIES[error.fault]}") from error
    attributor.start()
    for watch in watches:
        watch.start()
    start = (int(clock.now() + config.tick_s) // config.window_s + 1) * config.window_s
    talk(f"measuring {_utc(start)} to {_utc(start + config.window_s)} on {len(watches)} GPUs")
    time.sleep(max(start + config.window_s + GRACE_S - clock.now(), 0.0))
    for watch in watches:
        watch.stop()
        if not watch.join(GRACE_S):
            talk(f"GPU {watch.index} does not answer; it is left out")
    uses = []
    while not closed.empty():
        uses += [use for use in closed.get() if use.window.start == start]
    owned = pipeline.attribute(uses)
    attributor.stop()
    return sorted(owned, key=lambda gpu: (gpu.use.gpu.index, gpu.use.gpu.uuid))


def as_json(value: Any) -> str:
    """As JSON; GPUs with their processes become plain objects, unknown is null."""
    return json.dumps(value, indent=2, default=_plain)


def as_table(gpus: Sequence[OwnedGpu]) -> str:
    """One block per GPU, one line per process."""
    if not gpus:
        return "no GPU gave a reading in this window"
    return "\n\n".join(f"{_headline(gpu)}\n{_processes(gpu)}" for gpu in gpus)


def _plain(value: object) -> object:
    if not isinstance(value, OwnedGpu):
        raise TypeError(f"{type(value)} has no form in JSON")
    use, gpu = value.use, value.use.gpu
    return {
        "window_start": datetime.fromtimestamp(use.window.start, UTC).isoformat(),
        "window_s": use.window.seconds,
        "gpu": gpu.uuid,
        "gpu_index": gpu.index,
        "gpu_model": gpu.model,
        "mig_profile": gpu.mig_profile,
        "share": gpu.share,
        "observed_ms": use.observed_ms,
        "held_ms": use.held_ms,
        "sm_busy_ms": use.sm_busy_ms,
        "sm_pct_max": use.sm_pct_max,
        "sm_source": use.sm_source.name.lower(),
        "mem_mib_mean": use.mem_mib_mean,
        "mem_mib_max": use.mem_mib_max,
        "mem_total_mib": gpu.memory_mib,
        "power_w_mean": use.power_w_mean,
        "temperature_c_max": use.temperature_c_max,
        "sm_clock_mhz_mean": use.sm_clock_mhz_mean,
        "tensor_pct_mean": use.tensor_pct_mean,
        "dram_pct_mean": use.dram_pct_mean,
        "ecc_uncorrected": use.ecc_uncorrected,
        "xid": use.xid,
        "unallocated_ms": value.unallocated_ms,
        "processes": [_plain_process(row) for row in value.processes],
        "grants": [_plain_grant(row) for row in value.grants],
    }


def _plain_owner(owner: Owner, kind: str, workload: str) -> dict[str, object]:
    return {
        "team": owner.team,
        "model": owner.model,
        "endpoint": owner.endpoint,
        "use_case": owner.use_case,
        "pool": owner.pool,
        "owner_source": owner.source,
        "workload_kind": kind,
        "workload": workload,
    }


def _plain_grant(row: OwnedGrant) -> dict[str, object]:
    return {
        **_plain_owner(row.owner, row.workload_kind, row.workload),
        "grant_source": row.source,
        "share_milli": row.share_milli,
        "granted_ms": row.granted_ms,
        "unheld_ms": row.unheld_ms,
    }


def _plain_process(row: OwnedProcess) -> dict[str, object]:
    use = row.use
    return {
        "pid": use.key.pid,
        "process_start": use.key.start,
        "process_name": row.name,
        "user": row.user,
        **_plain_owner(row.owner, row.workload_kind, row.workload),
        "context": use.context.name.lower(),
        "present_ms": use.present_ms,
        "held_ms": use.held_ms,
        "sm_busy_ms": use.sm_busy_ms,
        "sm_pct_max": use.sm_pct_max,
        "sm_source": use.sm_source.name.lower(),
        "mem_mib_mean": use.mem_mib_mean,
        "mem_mib_max": use.mem_mib_max,
    }


def _headline(owned: OwnedGpu) -> str:
    use, gpu = owned.use, owned.use.gpu
    name = f"GPU {gpu.index}  {gpu.model}" + (f" MIG {gpu.mig_profile}" if gpu.mig_profile else "")
    observed = use.observed_ms or 1
    parts = [name, f"held {100 * use.held_ms / observed:.1f} %", f"busy {_busy(owned)}"]
    if use.mem_mib_max is not None:
        parts.append(f"memory {use.mem_mib_max} of {gpu.memory_mib or '?'} MiB")
    if use.power_w_mean is not None:
        parts.append(f"{use.power_w_mean} W")
    if use.xid:
        parts.append(f"Xid {use.xid}")
    return one_line("  ".join(parts))


def _busy(owned: OwnedGpu) -> str:
    use = owned.use
    if use.sm_source.name == "UNKNOWN":
        return "unknown"
    return f"{100 * use.sm_busy_ms / (use.observed_ms or 1):.1f} %"


def _processes(owned: OwnedGpu) -> str:
    idle = [
        f"  granted by {grant.source} to {grant.workload_kind} {grant.workload}"
        f" ({grant.owner.team or 'no team'}), not held for {grant.unheld_ms / 1000:.1f} s"
        for grant in owned.grants
        if grant.unheld_ms
    ]
    return "\n".join([_process_table(owned), *map(one_line, idle)])


def _process_table(owned: OwnedGpu) -> str:
    if not owned.processes:
        return "  no processes"
    cells = (map(one_line, _process_line(row, owned.use)) for row in owned.processes)
    lines = [_PROCESS_COLUMNS, *map(tuple, cells)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(f"  {line}".rstrip() for line in padded)


def _process_line(row: OwnedProcess, gpu: GpuUse) -> tuple[str, ...]:
    use, owner, observed = row.use, row.owner, gpu.observed_ms or 1
    known = use.sm_source.name != "UNKNOWN"
    return (
        str(use.key.pid) if use.key.pid else "?",
        row.name or "?",
        row.user,
        row.workload if row.workload_kind != Kind.PROCESS else "",
        owner.team,
        owner.model,
        owner.endpoint,
        owner.pool,
        f"{100 * use.held_ms / observed:.1f}",
        f"{100 * use.sm_busy_ms / observed:.1f}" if known else "?",
        use.sm_source.name.lower(),
        "?" if use.mem_mib_mean is None else str(use.mem_mib_mean),
        "?" if use.mem_mib_max is None else str(use.mem_mib_max),
    )


def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")
