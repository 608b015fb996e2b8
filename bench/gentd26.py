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
COLUMNS = ("container_ip", "timestamp_anon", "value")

SAMPLE_S = 57
WINDOW_S = 60
MAX_SAMPLES = 12 * 86_400 // WINDOW_S
"""A collector refuses windows of more than 13 days ago."""

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
    busy = _series(directory / DUTY_CYCLE, 100, "percent")
    memory = _series(directory / MEMORY, GPU_MEMORY_MIB * MIB, "bytes")
    numbers = {number for series in (busy, memory) for pod in series.values() for number in pod}
    first, count = min(numbers), max(numbers) - min(numbers) + 1
    if count > MAX_SAMPLES:
        raise TraceError(
            f"{directory}: {count} samples long; at most {MAX_SAMPLES} can be replayed"
        )
    pods = [
        Pod(
            name,
            _counted_from(first, busy.get(name, {})),
            _counted_from(first, memory.get(name, {})),
        )
        for name in sorted(busy.keys() | memory.keys())
    ]
    return Trace(pods, count)


def _series(path: Path, highest: float, unit: str) -> dict[str, Samples]:
    """Values of one file by pod and by number of the sample since the epoch."""
    series: dict[str, Samples] = {}
    for line, row in _rows(path):
        try:
            number, value = _sample(row, highest, unit)
            samples = series.setdefault(row["container_ip"], {})
            if number in samples:
                raise ValueError("the pod has two samples at this time")
            samples[number] = value
        except ValueError as error:
            raise TraceError(f"{path}: line {line}: {error}") from error
    if not series:
        raise TraceError(f"{path}: it holds no samples")
    return series


def _sample(row: dict[str, str], highest: float, unit: str) -> tuple[int, float]:
    """Number of the sample since the epoch, and its value. Raises ValueError."""
    number, rest = divmod(float(row["timestamp_anon"]), SAMPLE_S)
    if rest:
        raise ValueError(f"timestamp_anon is no multiple of {SAMPLE_S} s")
    value = float(row["value"])
    if not 0 <= value <= highest:
        raise ValueError(f"value {value} is not between 0 and {highest} {unit}")
    return int(number), value


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Lines of one file, with their numbers."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, restval="")
            if not set(COLUMNS).issubset(rows.fieldnames or ()):
                raise TraceError(f"{path}: it must have the columns {', '.join(COLUMNS)}")
            for row in rows:
                yield rows.line_num, row
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from error
    except (EOFError, zlib.error, csv.Error, UnicodeError) as error:
        raise TraceError(f"{path}: {error}") from error


def _counted_from(first: int, samples: Samples) -> Samples:
    return {number - first: value for number, value in samples.items()}


def hosts(trace: Trace, begins: int) -> list[Host]:
    """Hosts on which these pods run; the first sample speaks of the minute after `begins`.

    `begins` is in seconds since the epoch, a multiple of WINDOW_S.
    """
    gpus: list[list[SimulatedProcess]] = []
    for pid, (pod, gpu) in enumerate(_placed(trace.pods), 1_000):
        if gpu == len(gpus):
            gpus.append([])
        gpus[gpu] += _processes(pod, pid, gpu % GPUS_PER_HOST, begins)
    return [_host(n, gpus[n : n + GPUS_PER_HOST]) for n in range(0, len(gpus), GPUS_PER_HOST)]


def _host(number: int, gpus: Sequence[Sequence[SimulatedProcess]]) -> Host:
    return Host(
        name=f"gentd26-{number // GPUS_PER_HOST + 1:02d}",
        pool="production",
        gpu_model=GPU_MODEL,
        memory_mib=GPU_MEMORY_MIB,
        processes=[process for gpu in gpus for process in gpu],
        gpus=len(gpus),
        cluster="gentd26",
    )


def _placed(pods: Sequence[Pod]) -> Iterator[tuple[Pod, int]]:
    """Every pod with the number of its GPU, which it leaves to another when it ends."""
    # A heap of every GPU so far, by the last sample of the pod that has it.
    taken: list[tuple[int, int]] = []
    lives = [(pod.stays[0][0], pod.stays[-1][1], pod) for pod in pods]
    for first, last, pod in sorted(lives, key=lambda life: life[:2]):
        free = bool(taken) and taken[0][0] < first
        gpu = heapq.heappop(taken)[1] if free else len(taken)
        heapq.heappush(taken, (last, gpu))
        yield pod, gpu


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
