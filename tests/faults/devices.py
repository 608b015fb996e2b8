"""The course of a host behind the agent's own protocols, and a clock that the harness can set."""

from __future__ import annotations

import mmap
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from gpuledger_agent.clock import SteadyClock
from gpuledger_agent.devices.base import Context, Device, GpuInfo, ProcessReading, Reading, SmSource
from gpuledger_agent.processes import ProcessFacts
from gpuledger_agent.records import ProcessKey
from tests.faults.course import Course, Job
from tests.faults.diary import Diary

MODEL = "NVIDIA H100 80GB HBM3"
MEMORY_MIB = 81_559

_OFFSET = struct.Struct("d")


def uuid(host: str, gpu: int) -> str:
    """UUID of a GPU."""
    return f"GPU-{host}-{gpu}"


def gpu_of(uuid: str) -> int:
    """Index of the GPU with this UUID."""
    return int(uuid.rsplit("-", 1)[1])


class WallClock:
    """The host's wall clock, which somebody sets: a file holds how far it is off, in seconds."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_OFFSET.pack(0.0))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _OFFSET.size)
        self._furthest_s = 0.0

    @property
    def offset_s(self) -> float:
        """How far it is ahead of true time."""
        return float(_OFFSET.unpack_from(self._map)[0])

    def set(self, offset_s: float) -> None:
        """Set it, for every process that looks at this file."""
        self._furthest_s = max(self._furthest_s, offset_s)
        _OFFSET.pack_into(self._map, 0, offset_s)

    def catch_up(self) -> None:
        """Set it as far ahead as it ever was, so that no agent waits for it."""
        self.set(self._furthest_s)

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self.offset_s


class HeldClock(SteadyClock):
    """The agent's clock. After `hold`, the same thread is told that moment once more.

    So the agent dates a reading as the device did, even if its thread was put aside in between.
    """

    def __init__(self, wall: WallClock) -> None:
        super().__init__(wall)
        self._held = threading.local()

    def hold(self) -> float:
        """The present moment."""
        self._held.at = super().now()
        return float(self._held.at)

    def now(self) -> float:
        """Seconds since the epoch, as held or else the present moment."""
        held = self._held.__dict__.pop("at", None)
        return super().now() if held is None else held


class CourseProcesses:
    """What /proc would say. Implements `ProcessTable`."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._facts: dict[ProcessKey, ProcessFacts] = {}

    def identify(self, pid: int, now: float) -> ProcessFacts:
        """Facts of the process that has this pid at `now`, or had it last."""
        facts = self._course.find(pid, now).facts
        self._facts[facts.key] = facts
        return facts

    def facts(self, key: ProcessKey) -> ProcessFacts | None:
        """Facts of a process identified before."""
        return self._facts.get(key)

    def prune(self, before: float) -> None:
        """Nothing is forgotten: the run is finite."""


@dataclass(frozen=True, slots=True)
class CourseLayer:
    """The GPUs of one host. Implements `DeviceLayer`."""

    host: str
    gpus: int
    course: Course
    clock: HeldClock
    diary: Diary

    def open(self) -> str:
        """Version of the driver that is not there."""
        return "simulated"

    def count(self) -> int:
        """How many GPUs there are."""
        return self.gpus

    def device(self, index: int) -> Device:
        """Open a GPU."""
        info = GpuInfo(uuid(self.host, index), index, MODEL, MEMORY_MIB)
        return CourseGpu(info, self.course, self.clock, self.diary)

    def close(self) -> None:
        """Nothing to let go of."""


class CourseGpu:
    """One GPU. Its SM use is the mean since the reading before, as drivers have it."""

    def __init__(self, info: GpuInfo, course: Course, clock: HeldClock, diary: Diary) -> None:
        self._info = info
        self._course = course
        self._clock = clock
        self._diary = diary
        self._last: float | None = None

    @property
    def index(self) -> int:
        """Ordinal on its host."""
        return self._info.index

    def read(self) -> tuple[Reading, ...]:
        """What happened since the reading before."""
        at = self._clock.hold()
        self._diary.read(self.index, at)
        last, self._last = at if self._last is None else self._last, at
        jobs = list(self._course.jobs(self.index, last, at))
        told = [_told(job, last, at) for job in jobs if job.runs(at) or job.end > last]
        fraction = sum(process.sm_fraction or 0.0 for process in told)
        return (
            Reading(
                gpu=self._info,
                processes=tuple(told),
                sm_fraction=fraction,
                sm_pct_max=round(100 * fraction),
                sm_source=SmSource.DEVICE,
                mem_used_mib=sum(process.mem_mib or 0 for process in told),
                power_w=round(90 + 550 * fraction),
            ),
        )


def _told(job: Job, last: float, at: float) -> ProcessReading:
    runs = job.runs(at)
    fraction = job.sm_fraction * (job.seconds(last, at) / (at - last) if at > last else 1.0)
    return ProcessReading(
        pid=job.pid,
        context=Context.COMPUTE,
        mem_mib=job.mem_mib if runs else None,
        sm_fraction=fraction,
        sm_pct_max=round(100 * fraction),
        listed=runs,
    )
