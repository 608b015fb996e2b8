"""A fleet of openb's shape: its hosts and GPUs, and its pods laid on them.

Alibaba's openb (https://github.com/alibaba/clusterdata, cluster-trace-gpu-v2023): 1,213 hosts with
6,212 GPUs, and pods that ask for whole GPUs or a part of one. The trace knows neither owners nor
pools, so both are made up: models of very unequal size, a team for every few of them, and
three pools. All pods are taken to run at the same time; together they fill the fleet.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

DATA = Path(__file__).parents[2] / "shared" / "data" / "openb"
NODES, PODS = "node_list_gpu_node.csv.gz", "pod_list_default.csv.gz"

MODELS, MODELS_PER_TEAM = 300, 8
POOLS = (("production", 7), ("experiment", 2), ("batch", 1))
"""Pool -> hosts of ten."""

STRAY_OF = 500
"""One pod of so many says that it belongs to another pool, and one does not say whose it is."""

WHOLE = 1000


@dataclass(slots=True)
class Gpu:
    """One GPU. `free`: thousandths of it that no pod has."""

    host: str
    pool: str
    gpu: str
    gpu_model: str
    free: int = WHOLE


@dataclass(frozen=True, slots=True)
class Placement:
    """A pod on a GPU, with the thousandths of it that it was granted."""

    host: str
    host_pool: str
    gpu: str
    gpu_model: str
    pool: str
    team: str
    model: str
    endpoint: str
    workload: str
    share_milli: int


def gpus(folder: Path = DATA) -> list[Gpu]:
    """Every GPU of the fleet, host by host, those of a pool and GPU model side by side."""
    pools = [pool for pool, tenths in POOLS for _ in range(tenths)]
    fleet = [
        Gpu(row["sn"], pools[_number(row["sn"]) % 10], f"GPU-{row['sn']}-{n}", row["model"])
        for row in _rows(folder / NODES)
        for n in range(int(row["gpu"]))
    ]
    return sorted(fleet, key=lambda gpu: (gpu.pool, gpu.gpu_model, gpu.host))


def placements(fleet: list[Gpu], folder: Path = DATA) -> Iterator[Placement]:
    """Pods on GPUs, those of a model side by side; whoever finds no room is left out.

    Changes what is free on the GPUs.
    """
    wanted = sorted(
        (_model(row["name"]), row["name"], row["qos"], int(row["num_gpu"]), int(row["gpu_milli"]))
        for row in _rows(folder / PODS)
        if int(row["num_gpu"])
    )
    begin: dict[int, int] = {}
    for model, pod, qos, count, milli in wanted:
        start = begin.get(milli, 0)
        while start < len(fleet) and fleet[start].free < milli:
            start += 1
        begin[milli] = start
        for gpu in _side_by_side(fleet[start:], count, milli) if count > 1 else fleet[start:][:1]:
            gpu.free -= milli
            stray = _number(f"{pod} strays") % STRAY_OF
            yield Placement(
                gpu.host, gpu.pool, gpu.gpu, gpu.gpu_model,
                "experiment" if stray == 0 else gpu.pool,
                "" if stray == 1 else f"team-{model // MODELS_PER_TEAM}",
                f"model-{model}", "chat" if qos == "LS" else "batch", pod, milli,
            )  # fmt: skip


def _side_by_side(fleet: list[Gpu], count: int, milli: int) -> list[Gpu]:
    """So many GPUs of one host with room for it; none if no host has them."""
    for _, host in groupby(fleet, key=lambda gpu: gpu.host):
        fitting = [gpu for gpu in host if gpu.free >= milli]
        if len(fitting) >= count:
            return fitting[:count]
    return []


def _model(pod: str) -> int:
    """Few models have most of the pods."""
    return int(MODELS * (_number(pod) / 2**32) ** 3)


def _number(name: str) -> int:
    return zlib.crc32(name.encode())


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
