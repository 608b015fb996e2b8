"""What this host can see and attribute, step by step, and what to do where it cannot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence

from gpuledger_agent.check_collectors import collectors
from gpuledger_agent.check_owners import granted, owner, sources
from gpuledger_agent.check_result import Check, Verdict
from gpuledger_agent.check_servers import servers
from gpuledger_agent.clock import SteadyClock
from gpuledger_agent.config import AgentConfig
from gpuledger_agent.daemon import make_attributor, make_processes
from gpuledger_agent.devices.base import DeviceError, DeviceLayer, GpuInfo, Reading, SmSource
from gpuledger_agent.driver import REMEDIES
from gpuledger_agent.processes import ProcessFacts
from gpuledger_agent.user_names import UserNames


def checks(config: AgentConfig, layer: DeviceLayer) -> Iterator[Check]:
    """Look at everything the agent depends on, in the order in which it depends on it."""
    clock = SteadyClock()
    attributor = make_attributor(config, clock)
    table = make_processes(config, attributor)
    attributor.start()
    pids: set[int] = set()
    gpus: list[GpuInfo] = []
    try:
        version = layer.open()
        count = layer.count()
    except DeviceError as error:
        yield Check(Verdict.FAIL, "driver", str(error), REMEDIES[error.fault])
    else:
        yield Check(Verdict.OK, "driver", f"version {version}, {count} GPUs")
        for index in range(count):
            yield from _gpu(layer, index, pids, gpus)
    facts = [table.identify(pid, clock.now()) for pid in sorted(pids)]
    attributor.settle()
    yield from sources(attributor)
    if gpus:
        yield from _processes(facts)
    names = UserNames()
    users = ["" if one.uid is None else names(one.uid) for one in facts]
    for one, user in zip(facts, users, strict=True):
        yield owner(one, user, attributor)
    yield from granted(attributor, gpus)
    yield from servers(config, attributor, list(zip(facts, users, strict=True)))
    attributor.stop()
    layer.close()
    yield _spool(config)
    yield from collectors(config.trust, config.collectors)


def _gpu(layer: DeviceLayer, index: int, pids: set[int], gpus: list[GpuInfo]) -> Iterator[Check]:
    try:
        device = layer.device(index)
        device.read()
        # Only the second reading has something to compare with.
        readings = device.read()
    except DeviceError as error:
        yield Check(Verdict.FAIL, f"GPU {index}", str(error), REMEDIES[error.fault])
        return
    for reading in readings:
        pids.update(p.pid for p in reading.processes if p.listed)
        gpus.append(reading.gpu)
        missing = _not_offered(reading)
        gpu = reading.gpu
        name = f"GPU {index}" + (f" MIG {gpu.mig_profile}" if gpu.mig_profile else "")
        text = f"{gpu.model}, {gpu.uuid}, SM use from {reading.sm_source.name.lower()}"
        if missing:
            text += f"; not offered: {', '.join(missing)}"
        worst = Verdict.WARN if reading.sm_source is SmSource.UNKNOWN else Verdict.OK
        remedy = "its held time is booked as unmeasured" if worst is Verdict.WARN else ""
        yield Check(worst, name, text, remedy)


def _not_offered(reading: Reading) -> list[str]:
    offers = {
        "memory": reading.mem_used_mib,
        "power": reading.power_w,
        "temperature": reading.temperature_c,
        "SM clock": reading.sm_clock_mhz,
        "ECC errors": reading.ecc_uncorrected,
    }
    missing = [name for name, value in offers.items() if value is None]
    listed = [p for p in reading.processes if p.listed]
    if any(p.mem_mib is None for p in listed):
        missing.append("memory per process")
    if listed and all(p.sm_fraction is None for p in listed):
        missing.append("SM use per process")
    return missing


def _processes(facts: Sequence[ProcessFacts]) -> Iterator[Check]:
    hidden = [f.key.pid for f in facts if not f.visible]
    if hidden:
        yield Check(
            Verdict.FAIL,
            "processes",
            f"{len(hidden)} of {len(facts)} GPU processes are not in this /proc: {hidden[:8]}",
            "run the agent in the host's PID namespace (docker --pid=host, Kubernetes hostPID)",
        )
    closed = [f for f in facts if f.environ_error]
    if closed:
        yield Check(
            Verdict.WARN,
            "processes",
            f"environment of {len(closed)} processes: {closed[0].environ_error}",
            "give the agent CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or run it as the same user",
        )
    if not hidden and not closed:
        yield Check(Verdict.OK, "processes", f"{len(facts)} on the GPUs, all visible")


def _spool(config: AgentConfig) -> Check:
    if config.spool is None:
        return Check(Verdict.WARN, "spool", "in memory; windows do not survive a restart")
    place = next(p for p in (config.spool, *config.spool.parents) if p.exists())
    if not os.access(place, os.W_OK):
        return Check(
            Verdict.FAIL,
            "spool",
            f"{place} cannot be written by user {os.geteuid()}",
            "run as the agent's user, or name another file (--spool)",
        )
    free_mib = shutil.disk_usage(place).free >> 20
    if free_mib < config.spool_max_mib:
        return Check(
            Verdict.WARN,
            "spool",
            f"{config.spool}: {free_mib} MiB free, but it may grow to {config.spool_max_mib} MiB",
            "lower --spool-max-mib, or give it a larger disk",
        )
    return Check(Verdict.OK, "spool", f"{config.spool}, {free_mib} MiB free")
