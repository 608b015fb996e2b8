"""Generated courses of one GPU, and the truth about them, integrated without the agent's code.

A course changes only at ticks and when a process starts, which /proc dates; so the agent, which
looks at ticks alone, can know it all.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import Phase, settings
from hypothesis import strategies as st

from gpuledger_agent.clock import Clock
from gpuledger_agent.devices.base import Device, DeviceError, Reading
from gpuledger_agent.devices.simulated import (
    Course,
    SimulatedClock,
    SimulatedGpus,
    SimulatedProcess,
    SimulatedProcesses,
)
from gpuledger_agent.records import GpuUse
from gpuledger_agent.worker import GpuWorker
from tests.window_books import assert_balanced

BASE = 1_700_000_000
GAP_S = 3.0
"""Longer than this between two ticks of a second, and nobody watched."""

COURSES = settings(
    deadline=None,
    max_examples=60,
    # A course is one random seed: nothing about it can be made smaller.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@dataclass(frozen=True)
class GpuCourse:
    """When the GPU was read, and who ran on it; all seconds since the epoch."""

    ticks: Sequence[float]
    processes: Sequence[SimulatedProcess]


@dataclass
class TrueProcess:
    """What one process did in one window, in milliseconds and MiB."""

    present: float = 0.0
    shared: float = 0.0
    busy: float = 0.0
    apportioned: float = 0.0
    mem_ms: float = 0.0
    mem_max: float = 0.0


@dataclass
class TrueWindow:
    """What happened in one window, in milliseconds; processes by pid and start."""

    observed: float = 0.0
    held: float = 0.0
    busy: float = 0.0
    processes: dict[tuple[int, int], TrueProcess] = field(default_factory=dict)


def truth(course: GpuCourse, window_s: int) -> dict[int, TrueWindow]:
    """Windows by their start, moment by moment between any two things that happen."""
    windows: dict[int, TrueWindow] = {}
    edges = range(int(min(course.ticks, default=0)), int(max(course.ticks, default=0)) + 2)
    starts = [p.start for p in course.processes]
    for before, tick in pairwise(course.ticks):
        if tick - before > GAP_S:
            continue
        inside = sorted({before, tick, *(at for at in (*edges, *starts) if before < at < tick)})
        for begin, end in pairwise(inside):
            window = windows.setdefault(int(begin // window_s) * window_s, TrueWindow())
            there = [p for p in course.processes if p.start <= begin and end < p.end]
            _integrate(window, there, tick, (end - begin) * 1000)
    return windows


def _integrate(
    window: TrueWindow, there: Sequence[SimulatedProcess], tick: float, ms: float
) -> None:
    """Add `ms` of a time that nothing changed in, as it was at `tick`."""
    window.observed += ms
    window.held += ms if there else 0.0
    busy = sum(process.sm_fraction(tick) for process in there) * ms
    window.busy += busy
    for process in there:
        one = window.processes.setdefault((process.pid, int(process.start)), TrueProcess())
        one.present += ms
        one.shared += ms / len(there)
        one.busy += process.sm_fraction(tick) * ms
        one.apportioned += busy / len(there)
        one.mem_ms += process.mem_mib(tick) * ms
        one.mem_max = max(one.mem_max, process.mem_mib(tick))


@st.composite
def courses(draw: st.DrawFn) -> GpuCourse:
    """Ticks that jitter, with gaps; processes that come, share, go, and inherit a pid."""
    rng = draw(st.randoms(use_true_random=False))
    count = draw(st.integers(2, 40))
    at = BASE + rng.uniform(0, 60)
    ticks = [at]
    for _ in range(count):
        at += rng.uniform(4, 150) if rng.random() < 0.05 else rng.uniform(0.05, 3.0)
        ticks.append(at)
    most = draw(st.integers(0, 5))
    processes: list[SimulatedProcess] = []
    for pid in range(1, most + 1):
        processes.append(_process(rng, ticks, pid, most, processes))
    return GpuCourse(ticks, processes)


def _process(
    rng: random.Random,
    ticks: Sequence[float],
    pid: int,
    most: int,
    others: Sequence[SimulatedProcess],
) -> SimulatedProcess:
    """A life that ends just after some tick, with at most its part of the SMs."""
    first = rng.randrange(1, len(ticks))
    start = rng.choice([ticks[first], rng.uniform(ticks[first - 1], ticks[first]), BASE - 50])
    first = bisect_left(ticks, start)
    end = math.nextafter(ticks[rng.randrange(first, len(ticks))], math.inf)
    sm = [rng.choice([0.0, rng.random()]) / most for _ in ticks]
    # What a process does before its first whole tick, a device that says "now" cannot tell.
    sm[: first + 1] = [0.0] * (first + 1)
    mem = [float(rng.randrange(80_000)) for _ in ticks]
    free = {p.pid for p in others} - {
        p.pid for p in others if p.start - 1 < end and start < p.end + 1
    }
    return SimulatedProcess(
        pid=rng.choice([pid, *sorted(free)]),
        name=f"p{pid}",
        user_id=1000,
        gpus=(0,),
        start=start,
        end=end,
        mem_mib=_steps(ticks, mem),
        sm_fraction=_steps(ticks, sm),
    )


def _steps(ticks: Sequence[float], values: Sequence[float]) -> Course:
    """The value at each tick, as it was since the tick before."""
    return lambda at: values[min(bisect_left(ticks, at), len(values) - 1)]


Veil = Callable[[Reading], Reading]


class Veiled:
    """A simulated GPU that offers less than it could. Implements `Device`."""

    def __init__(self, device: Device, veil: Veil) -> None:
        self.device, self.veil, self.index = device, veil, device.index

    def read(self) -> tuple[Reading, ...]:
        return tuple(self.veil(reading) for reading in self.device.read())


def process(
    pid: int = 7, start: float = 0.0, end: float = 4e9, sm: float = 0.5
) -> SimulatedProcess:
    return SimulatedProcess(pid, "p", 0, (0,), start, end, lambda _: 100.0, lambda _: sm)


def worker_on(
    processes: Sequence[SimulatedProcess],
    clock: Clock,
    veil: Veil = lambda reading: reading,
    *,
    window_s: int = 10,
    written_until: float = 0.0,
) -> GpuWorker:
    gpus = SimulatedGpus("h", "H100", 81_559, 1, processes, clock)  # type: ignore[arg-type]
    return GpuWorker(
        Veiled(gpus.device(0), veil),
        SimulatedProcesses(processes),
        clock,
        window_s=window_s,
        tick_s=1.0,
        written_until=written_until,
    )


def measure(worker: GpuWorker, clock: SimulatedClock, ticks: Iterable[float]) -> list[GpuUse]:
    """All windows of a course, each of which balances; a tick that fails is passed over."""
    uses = []
    for clock.at in ticks:
        try:
            uses += worker.tick()
        except DeviceError:
            continue
    uses += worker.close()
    for use in uses:
        assert_balanced(use)
    return uses


def assert_one_after_the_other(uses: Sequence[GpuUse]) -> None:
    starts = [use.window.start for use in uses]
    assert starts == sorted(set(starts))
