"""A healthy fleet's month by the hour: days, nights and weekends, and nothing that is wrong.

Hours are written as roll-ups leave them. They count from when they stand in `rolled_hours`, so the
month can be lived through hour by hour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.client import Client

from tests.ledger_fleet import GPU_MODELS, Row, insert

HOUR = timedelta(hours=1)
END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
HOURS = 30 * 24
BEGIN = END - HOURS * HOUR
MS = 3_600_000
CAPACITY = {"production": (GPU_MODELS[0], 14, 81_920), "experiment": (GPU_MODELS[1], 6, 24_576)}
"""Pool -> GPU model, GPUs, memory of each in MiB."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A team with its model. `mem_mib`: what a replica needs when nothing is going on."""

    team: str
    model: str
    pool: str
    gpus: int
    mem_mib: int

    def replicas(self, at: datetime) -> int:
        """Search stands, speech follows the day, research works in office hours."""
        match self.team:
            case "speech":
                return 2 + round(2 * daylight(at))
            case "research":
                return 0 if weekend(at) or not 8 <= at.hour < 18 else self.gpus
        return self.gpus


OWNERS = (
    Owner("search", "ranker", "production", 8, 50_000),
    Owner("speech", "encoder", "production", 4, 55_000),
    Owner("research", "tuning", "experiment", 4, 15_000),
)


def daylight(at: datetime) -> float:
    """0 at four in the morning, 1 at four in the afternoon."""
    return 0.5 - 0.5 * math.cos(2 * math.pi * (at.hour - 4) / 24)


def weekend(at: datetime) -> bool:
    """The month begins with one, whatever the calendar says: hardest for who judges early."""
    return (at - BEGIN).days % 7 < 2


def live(client: Client, until: datetime, *, since: datetime) -> None:
    """From now on the hours from `since` until `until` count."""
    hours = [hour for hour in _hours() if since <= hour < until]
    rolled = [{"hour": hour, "computed_at": hour, "rolled_at": hour + HOUR} for hour in hours]
    insert(client, "rolled_hours", rolled)


def fill(client: Client) -> None:
    """Write the whole month; none of its hours counts yet."""
    insert(client, "capacity_hourly_versions", [row for at in _hours() for row in _capacity(at)])
    placed = [
        (owner, at, replicas)
        for owner in OWNERS
        for at in _hours()
        if (replicas := owner.replicas(at))
    ]
    insert(client, "usage_hourly_versions", [_usage(*each) for each in placed])
    workloads = [_workload(owner, at, n) for owner, at, count in placed for n in range(count)]
    insert(client, "workload_hourly_versions", workloads)


def _hours() -> Iterator[datetime]:
    return (BEGIN + n * HOUR for n in range(HOURS))


def _capacity(at: datetime) -> Iterator[Row]:
    for pool, (gpu_model, gpus, mem_mib) in CAPACITY.items():
        taken = sum(owner.replicas(at) for owner in OWNERS if owner.pool == pool)
        yield {
            **_stamp(at), "cluster": "east", "host_pool": pool, "gpu_model": gpu_model,
            "first_seen": at, "last_seen": at + HOUR, "hosts": 2, "gpus": gpus,
            "observed_ms": gpus * MS, "unallocated_ms": (gpus - taken) * MS,
            "observed_gpu_ms_by_minute": [gpus * 60_000] * 60,
            "mem_total_mib_ms": gpus * MS * mem_mib,
        }  # fmt: skip


def _usage(owner: Owner, at: datetime, replicas: int) -> Row:
    sm_pct = round((25 + 60 * daylight(at)) * (0.7 if weekend(at) else 1))
    mem_mib = owner.mem_mib + round(8_000 * daylight(at) * owner.mem_mib / 50_000)
    return {
        **_stamp(at), **_owner(owner), "held_ms": replicas * MS, "active_ms": replicas * MS,
        "busy_ms": replicas * MS * sm_pct // 100,
        "active_gpu_ms_by_minute": [replicas * 60_000] * 60,
        "unmeasured_gpu_ms_by_minute": [0] * 60,
        "allocated_gpu_ms_by_minute": [replicas * 60_000] * 60,
        "sm_pct_max": 100, "sm_pct_histogram": {sm_pct - 5: MS, sm_pct + 5: MS},
        "mem_known_ms": replicas * MS, "mem_mib_ms": replicas * MS * mem_mib,
        "mem_mib_min": mem_mib, "mem_mib_max": mem_mib,
        "mem_mib_histogram": {mem_mib // 16 * 16: replicas * MS},
    }  # fmt: skip


def _workload(owner: Owner, at: datetime, number: int) -> Row:
    return {
        **_stamp(at), **_owner(owner), "host": f"{owner.team}-host", "workload_kind": "pod",
        "gpu": f"GPU-{owner.team}-{number}", "workload": f"{owner.model}-{number}",
        "first_seen": at, "last_seen": at + HOUR, "last_worked": at + HOUR,
        "held_ms": MS, "active_ms": MS, "busy_ms": MS // 2, "mem_mib_max": owner.mem_mib,
    }  # fmt: skip


def _owner(owner: Owner) -> Row:
    return {
        "cluster": "east", "host_pool": owner.pool, "gpu_model": CAPACITY[owner.pool][0],
        "pool": owner.pool, "team": owner.team, "model": owner.model, "endpoint": "",
    }  # fmt: skip


def _stamp(at: datetime) -> Row:
    return {"hour": at, "computed_at": at}
