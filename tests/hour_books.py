"""Hours as roll-ups leave them, written without the windows that they would come from.

They count from when they stand in `rolled_hours`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from gpuledger_collector.rollup import Rollup
from tests.ledger_fleet import GPU_MODELS, Row, insert
from tests.traffic_books import VLLM_S, histogram, microseconds
from tests.traffic_fixture import EVERYTHING

HOUR = timedelta(hours=1)
MS = 3_600_000
OWNER = {
    "cluster": "east", "host_pool": "production", "gpu_model": GPU_MODELS[0],
    "pool": "production", "team": "search", "model": "ranker", "endpoint": "chat",
}  # fmt: skip
"""Who is meant where nothing else is said."""


def count(client: Client, hours: Iterable[datetime]) -> None:
    """From now on these hours count, and what follows from them."""
    counting = list(hours)
    Rollup(client).derive([(f"{at:%F %T}", f"{at:%F %T}") for at in counting])
    rolled = [{"hour": at, "computed_at": at, "rolled_at": at + HOUR} for at in counting]
    insert(client, "rolled_hours", rolled)


def capacity(at: datetime, gpus: int, taken: int, mem_mib: int, **place: Any) -> Row:
    """GPUs of one kind, watched for the whole hour."""
    return {
        **_stamp(at),
        **{name: OWNER[name] for name in ("cluster", "host_pool", "gpu_model")} | place,
        "first_seen": at, "last_seen": at + HOUR, "hosts": 2, "gpus": gpus,
        "observed_ms": gpus * MS, "unallocated_ms": (gpus - taken) * MS,
        "observed_gpu_ms_by_minute": [gpus * 60_000] * 60,
        "mem_total_mib_ms": gpus * MS * mem_mib,
    }  # fmt: skip


def usage(at: datetime, gpus: int, sm_pct: float, mem_mib: int, **owner: Any) -> Row:
    """GPUs held for the whole hour, each of them busy for so much of every window."""
    return {
        **_stamp(at), **OWNER | owner, "held_ms": gpus * MS, "active_ms": gpus * MS,
        "busy_ms": round(gpus * MS * sm_pct / 100),
        "active_gpu_ms_by_minute": [gpus * 60_000] * 60,
        "unmeasured_gpu_ms_by_minute": [0] * 60,
        "allocated_gpu_ms_by_minute": [gpus * 60_000] * 60,
        "sm_pct_max": 100, "sm_pct_histogram": {round(sm_pct): gpus * MS},
        "mem_known_ms": gpus * MS, "mem_mib_ms": gpus * MS * mem_mib,
        "mem_mib_min": mem_mib, "mem_mib_max": mem_mib,
        "mem_mib_histogram": {mem_mib // 16 * 16: gpus * MS},
    }  # fmt: skip


def workloads(at: datetime, gpus: int, sm_pct: float, mem_mib: int, **owner: Any) -> list[Row]:
    """The same by replica, one a GPU; all on the host of their team unless another is named."""
    named: Row = OWNER | {"host": f"{owner.get('team', OWNER['team'])}-host"} | owner
    name = "-".join(filter(None, (named["model"], named["endpoint"])))
    return [
        {
            **_stamp(at), **named, "workload_kind": "pod",
            "gpu": f"GPU-{named['team']}-{name}-{number}", "workload": f"{name}-{number}",
            "first_seen": at, "last_seen": at + HOUR, "last_worked": at + HOUR,
            "held_ms": MS, "active_ms": MS, "busy_ms": round(MS * sm_pct / 100),
            "mem_mib_max": mem_mib,
        }
        for number in range(gpus)
    ]  # fmt: skip


def traffic(
    at: datetime,
    values_ms: Sequence[float],
    *,
    times: int = 1,
    kv_cache_pct: int = 20,
    **owner: Any,
) -> Row:
    """A server watched for the whole hour. Each of these latencies was seen so many `times`."""
    buckets, counts = histogram([1000 * value for value in values_ms], microseconds(VLLM_S))
    requests = times * len(values_ms)
    return {
        **_stamp(at),
        **{name: value for name, value in (OWNER | owner).items() if name != "gpu_model"},
        "servers": 1, "observed_ms_by_minute": [60_000] * 60,
        "requests_by_minute": [requests, *[0] * 59], "requests": requests,
        "running_known_ms": MS, "waiting_known_ms": MS,
        "kv_cache_pct_ms": kv_cache_pct * MS, "kv_cache_known_ms": MS,
        "kv_cache_pct_max": kv_cache_pct, "latency_ms": round(times * sum(values_ms)),
        "latency_buckets": buckets, "latency_counts": [times * n for n in counts],
        "offered": EVERYTHING,
    }  # fmt: skip


def write(client: Client, **books: Iterable[Row]) -> None:
    """Put rows into the books of hours: `usage`, `workload`, `capacity`, `traffic`."""
    for name, rows in books.items():
        insert(client, f"{name}_hourly_versions", rows)


def _stamp(at: datetime) -> Row:
    return {"hour": at, "computed_at": at}
