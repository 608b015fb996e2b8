"""A production day of image generation, as a trace of GPU telemetry and as simulated hosts.

The trace is Alibaba's GenTD26 (https://github.com/alibaba/clusterdata, cluster-trace-v2026-GenAI):
of every pod, which holds one GPU, the duty cycle and the GPU memory in use, every 57 s for 22.8
hours. What its files are taken to say:

- A sample speaks of the 57 s before it, as the agent's own readings speak of the time since the
  reading before. It becomes one whole window of a minute, the length nearest to it. So means,
  medians and percentiles over samples are the same over time; hours are 60/57 of the trace's.
- A pod holds its GPU as long as either file has samples of it. Where the duty cycle is missing
  nobody knows whether the GPU worked, which the books call unmeasured; where memory is missing it
  is unknown. Where both are, nothing says that the pod was there.
"""

from __future__ import annotations

import csv
import gzip
import heapq
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from gpuledger_agent.devices.simulated import Course, SimulatedProcess
from gpuledger_collector.demo.fleet import GPUS_PER_HOST, Host

DUTY_CYCLE = "pod_gpu_duty_cycle_anon.csv.gz"
MEMORY = "pod_gpu_memory_used_bytes_anon.csv.gz"

SAMPLE_S = 57
WINDOW_S = 60

GPU_MODEL, GPU_MEMORY_MIB = "GenTD26 48GB", 49_152
"""The trace names no model; a card with 48 GiB is the smallest that its pods fit on."""

OWNER = {"GPULEDGER_TEAM": "image-generation", "GPULEDGER_MODEL": "stable-diffusion"}

MIB = 1 << 20

Samples = dict[int, float]
"""Number of the sample, counted from the beginning of the trace -> value."""


class TraceError(Exception):
    """The files are not those of the trace; says where and why in one line."""


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod: GPU busy in percent, and GPU memory in use in bytes."""

    name: str
    busy_pct: Samples
    mem_bytes: Samples

    @property
    def stays(self) -> list[tuple[int, int]]:
        """First and last sample of every stretch of time in which it held its GPU."""
        numbers = enumerate(sorted(self.busy_pct.keys() | self.mem_bytes.keys()))
        stretches = groupby(numbers, key=lambda pair: pair[1] - pair[0])
        held = ([number for _, number in stretch] for _, stretch in stretches)
        return [(numbers[0], numbers[-1]) for numbers in held]


@dataclass(frozen=True, slots=True)
class Trace:
    """All pods, and how many samples lie between the first and the last, both included."""

    pods: Sequence[Pod]
    samples: int


def read(directory: Path) -> Trace:
    """The trace in a directory. Raises TraceError."""
    busy = _series(directory / DUTY_CYCLE, "percent", highest=100)
    memory = _series(directory / MEMORY, "bytes", highest=GPU_MEMORY_MIB * MIB)
    numbers = {number for series in (busy, memory) for pod in series.values() for number in pod}
    first = min(numbers)
    pods = [
        Pod(
            name,
            _counted_from(first, busy.get(name, {})),
            _counted_from(first, memory.get(name, {})),
        )
        for name in sorted(busy.keys() | memory.keys())
    ]
    return Trace(pods, max(numbers) - first + 1)


def _series(path: Path, unit: str, highest: float) -> dict[str, Samples]:
    """Values of one file by pod and number of the sample since the epoch. Raises TraceError."""
    series: dict[str, Samples] = {}
    line = 1
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            for line, row in enumerate(csv.DictReader(file), 2):
                pod, value = row["container_ip"], float(row["value"])
                number, rest = divmod(float(row["timestamp_anon"]), SAMPLE_S)
                samples = series.setdefault(pod, {})
                if rest or number in samples:
                    raise ValueError(f"each pod has one sample every {SAMPLE_S} s")
                if not 0 <= value <= highest:
                    raise ValueError(f"{value} is not between 0 and {highest} {unit}")
                samples[int(number)] = value
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    except KeyError as error:
        raise TraceError(f"{path}: there is no column {error}") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise TraceError(f"{path}: line {line}: {error}") from error
    if not series:
        raise TraceError(f"{path}: it holds no samples")
    return series


def _counted_from(first: int, samples: Samples) -> Samples:
    return {number - first: value for number, value in samples.items()}


def hosts(trace: Trace, begins: int) -> list[Host]:
    """Hosts on which these pods run; the first sample speaks of the minute after `begins`.

    `begins` is in seconds since the epoch, a multiple of WINDOW_S.
    """
    processes: dict[int, list[SimulatedProcess]] = {}
    for pid, (pod, seat) in enumerate(_seated(trace.pods), 1_000):
        processes.setdefault(seat, []).extend(_processes(pod, pid, seat % GPUS_PER_HOST, begins))
    seats = range(len(processes))
    return [
        Host(
            f"gentd26-{number:02d}",
            "production",
            GPU_MODEL,
            GPU_MEMORY_MIB,
            [process for seat in on_host for process in processes[seat]],
            len(on_host),
            "gentd26",
        )
        for number, start in enumerate(seats[::GPUS_PER_HOST], 1)
        if (on_host := seats[start : start + GPUS_PER_HOST])
    ]


def _seated(pods: Sequence[Pod]) -> Iterator[tuple[Pod, int]]:
    """Every pod with the number of a GPU, which is free for another when the pod has ended."""
    seats: list[tuple[int, int]] = []
    """Last sample of who sits there, and the GPU: a heap."""
    lives = [(pod.stays[0][0], pod.stays[-1][1], pod) for pod in pods]
    for first, last, pod in sorted(lives, key=lambda life: life[:2]):
        free = bool(seats) and seats[0][0] < first
        seat = heapq.heappop(seats)[1] if free else len(seats)
        heapq.heappush(seats, (last, seat))
        yield pod, seat


def _processes(pod: Pod, pid: int, gpu: int, begins: int) -> Iterator[SimulatedProcess]:
    for first, last in pod.stays:
        yield SimulatedProcess(
            pid=pid,
            name=pod.name[:15],
            user_id=1000,
            gpus=(gpu,),
            start=begins + WINDOW_S * first,
            end=begins + WINDOW_S * (last + 1),
            mem_mib=_course(pod.mem_bytes, begins, MIB),
            sm_fraction=_course(pod.busy_pct, begins, 100),
            environ=OWNER,
        )


def _course(samples: Samples, begins: int, unit: float) -> Course:
    def course(at: float) -> float | None:
        value = samples.get(math.ceil((at - begins) / WINDOW_S) - 1)
        return None if value is None else value / unit

    return course
