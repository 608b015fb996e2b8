"""A fleet that exists in a script: devices, processes and time, behind the agent's own protocols.

Only what a driver and /proc would say is made up here; what becomes of it is the agent's own code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gpuledger_agent.devices.base import (
    Context,
    Device,
    DeviceError,
    Fault,
    GpuInfo,
    ProcessReading,
    Reading,
    SmSource,
)
from gpuledger_agent.processes import ProcessFacts
from gpuledger_agent.records import ProcessKey

Course = Callable[[float], float | None]
"""A figure over time: seconds since the epoch -> value, None where the driver does not say."""


@dataclass(slots=True)
class SimulatedClock:
    """Time that passes when it is told to. Implements `Clock`."""

    at: float

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.at


@dataclass(frozen=True, slots=True)
class SimulatedProcess:
    """A process on some GPUs of one host, from `start` until `end` (seconds since the epoch).

    `mem_mib` and `sm_fraction` (0 to 1) hold for each of its GPUs at any time. Readings tell of
    the time up to them: one at `start` does not see the process yet, one at `end` still does.
    """

    pid: int
    name: str
    user_id: int
    gpus: Sequence[int]
    start: float
    end: float
    mem_mib: Course
    sm_fraction: Course
    environ: Mapping[str, str] = field(default_factory=dict)

    def runs(self, at: float) -> bool:
        """Whether a reading at this time sees it."""
        return self.start < at <= self.end

    @property
    def facts(self) -> ProcessFacts:
        """What /proc would say of it."""
        return ProcessFacts(
            key=ProcessKey(self.pid, int(self.start)),
            started=self.start,
            name=self.name,
            uid=self.user_id,
            environ=self.environ,
        )


class SimulatedProcesses:
    """The processes of one host. Implements `ProcessTable`."""

    def __init__(self, processes: Sequence[SimulatedProcess]) -> None:
        self._by_pid: dict[int, list[SimulatedProcess]] = {}
        for process in processes:
            self._by_pid.setdefault(process.pid, []).append(process)
        self._by_key = {p.facts.key: p.facts for p in processes}

    def identify(self, pid: int, now: float) -> ProcessFacts:
        """Facts of the process that has this pid at `now`."""
        for process in self._by_pid[pid]:
            if process.runs(now):
                return self._by_key[ProcessKey(pid, int(process.start))]
        raise LookupError(f"no process {pid} at {now}: the script lists it, so it must run")

    def facts(self, key: ProcessKey) -> ProcessFacts | None:
        """Facts of a process of the script."""
        return self._by_key.get(key)

    def prune(self, before: float) -> None:
        """Nothing is forgotten: the script is finite."""


@dataclass(frozen=True, slots=True)
class SimulatedGpus:
    """The GPUs of one host. Implements `DeviceLayer`."""

    host: str
    model: str
    memory_mib: int
    gpus: int
    processes: Sequence[SimulatedProcess]
    clock: SimulatedClock

    def open(self) -> str:
        """Version of the driver that is not there."""
        return "simulated"

    def count(self) -> int:
        """How many GPUs the script gives this host."""
        return self.gpus

    def device(self, index: int) -> Device:
        """Open GPU `index`. Raises DeviceError."""
        if not 0 <= index < self.gpus:
            raise DeviceError(Fault.FAILED, f"there is no GPU {index}")
        info = GpuInfo(f"GPU-{self.host}-{index}", index, self.model, self.memory_mib)
        here = [process for process in self.processes if index in process.gpus]
        return SimulatedGpu(info, here, self.clock)

    def close(self) -> None:
        """Nothing to let go of."""


class SimulatedGpu:
    """One GPU of a script. Implements `Device`."""

    def __init__(
        self, info: GpuInfo, processes: Sequence[SimulatedProcess], clock: SimulatedClock
    ) -> None:
        self._info = info
        self._processes = processes
        self._clock = clock

    @property
    def index(self) -> int:
        """Ordinal on its host."""
        return self._info.index

    def read(self) -> tuple[Reading, ...]:
        """What the script says at this time; use is that of the present moment."""
        at = self._clock.now()
        processes = tuple(_read(process, at) for process in self._processes if process.runs(at))
        told = all(p.sm_fraction is not None for p in processes)
        fraction = min(sum(p.sm_fraction or 0.0 for p in processes), 1.0)
        return (
            Reading(
                gpu=self._info,
                processes=processes,
                sm_fraction=fraction if told else None,
                sm_pct_max=round(100 * fraction) if told else None,
                sm_source=SmSource.DEVICE if told else SmSource.UNKNOWN,
                mem_used_mib=sum(p.mem_mib or 0 for p in processes),
                power_w=round(90 + 550 * fraction),
                temperature_c=round(34 + 40 * fraction),
                sm_clock_mhz=1_755 if fraction else 345,
                ecc_uncorrected=0,
            ),
        )


def _read(process: SimulatedProcess, at: float) -> ProcessReading:
    fraction, mem_mib = process.sm_fraction(at), process.mem_mib(at)
    return ProcessReading(
        pid=process.pid,
        context=Context.COMPUTE,
        mem_mib=None if mem_mib is None else round(mem_mib),
        sm_fraction=fraction,
        sm_pct_max=None if fraction is None else round(100 * fraction),
    )
