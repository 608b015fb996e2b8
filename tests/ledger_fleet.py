"""Random fleets as raw rows, with the truth about them added up in plain Python.

Rows are consistent as an agent's are: observed = unallocated + sum of held + sum of unheld.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from gpuledger_collector.rollup import TABLES as HOURLY
from gpuledger_collector.rollup import Rollup
from gpuledger_collector.rollup_days import VIEWS, table_of

Row = dict[str, Any]

OwnerKey = tuple[datetime, str, str, str, str, str, str]
"""hour, cluster, pool, team, model, endpoint, gpu_model"""

CapacityKey = tuple[datetime, str, str, str]
"""hour, cluster, host_pool, gpu_model"""

BASE = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) - timedelta(days=2)
"""First hour of every fleet: recent, because raw rows expire."""

TABLES = ("process_usage_raw", "gpu_usage_raw", "gpu_allocation_raw")

EMPTIED = (
    *(*TABLES, "endpoint_traffic_raw", "touched_hours", "rolled_hours", "rolled_days"),
    *("owners_seen", "fleet_seen", "retention", "capacity_requests", "gpu_prices"),
    *(*HOURLY, *map(table_of, VIEWS)),
)

GPU_MODELS = ("NVIDIA H100 80GB HBM3", "NVIDIA L4")
POOLS = ("production", "experiment")
TEAMS = ("", "search", "speech")
MODELS = ("", "ranker", "encoder")
ENDPOINTS = ("", "chat")
MS_PER_HOUR = 3_600_000


@dataclass(slots=True)
class Books:
    """What the ledger must say of one owner in one hour, in milliseconds."""

    held: int = 0
    unheld: int = 0
    active: int = 0
    busy: int = 0
    unmeasured: int = 0

    @property
    def allocated(self) -> int:
        return self.held + self.unheld

    @property
    def idle(self) -> int:
        return self.allocated - self.active - self.unmeasured


@dataclass(slots=True)
class Fleet:
    """Raw rows by table."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in TABLES})

    def owners(self) -> dict[OwnerKey, Books]:
        """The truth per owner, by going through the rows one by one."""
        books: dict[OwnerKey, Books] = defaultdict(Books)
        for row in self.rows["process_usage_raw"]:
            entry = books[owner_key(row)]
            entry.held += row["held_ms"]
            if row["sm_source"] == "unknown":
                entry.unmeasured += row["held_ms"]
            elif row["sm_busy_ms"]:
                entry.active += row["held_ms"]
                entry.busy += row["sm_busy_ms"]
        for row in self.rows["gpu_allocation_raw"]:
            books[owner_key(row)].unheld += row["unheld_ms"]
        return dict(books)

    def capacity(self) -> dict[CapacityKey, tuple[int, int]]:
        """Observed and unallocated milliseconds."""
        sums: dict[CapacityKey, list[int]] = defaultdict(lambda: [0, 0])
        for row in self.rows["gpu_usage_raw"]:
            key = (hour_of(row), row["cluster"], row["host_pool"], row["gpu_model"])
            sums[key][0] += row["observed_ms"]
            sums[key][1] += row["unallocated_ms"]
        return {key: (observed, unallocated) for key, (observed, unallocated) in sums.items()}


def random_fleet(rng: random.Random) -> Fleet:
    """One to three hosts with one or two GPUs each, over one to three hours."""
    fleet = Fleet()
    hours = rng.sample(range(4), rng.randint(1, 3))
    for host_number in range(rng.randint(1, 3)):
        host = {
            "host": f"host-{host_number}",
            "cluster": rng.choice(("east", "west")),
            "host_pool": rng.choice(POOLS),
        }
        for gpu_number in range(rng.randint(1, 2)):
            gpu = {**host, "gpu": f"GPU-{host_number}-{gpu_number}"}
            gpu["gpu_model"] = rng.choice(GPU_MODELS)
            for hour in hours:
                for window in rng.sample(range(360), rng.randint(1, 4)):
                    ts = BASE + timedelta(hours=hour, seconds=10 * window)
                    _add_window(fleet, rng, {**gpu, "ts": ts, "window_s": 10})
    return fleet


def insert(client: Client, table: str, rows: Iterable[Row]) -> None:
    """Put rows into a raw table; columns that they lack keep their defaults."""
    rows = list(rows)
    if rows:
        names = list(rows[0])
        client.insert(table, [[row[n] for n in names] for row in rows], column_names=names)


def empty(client: Client) -> None:
    """Forget everything."""
    filled = (
        "SELECT name FROM system.tables WHERE database = currentDatabase()"
        " AND total_rows > 0 AND name IN {tables:Array(String)}"
    )
    for (table,) in client.query(filled, parameters={"tables": list(EMPTIED)}).result_rows:
        client.command(f"TRUNCATE TABLE {table}")


def keep(client: Client, kind: str, days: int) -> None:
    """From now on only so many days of a kind count, the present one included; no TTL changes."""
    insert(client, "retention", [{"kind": kind, "days": days, "stated": f"{days}d"}])


def process(at: datetime, **given: Any) -> Row:
    """A process that holds a whole GPU for a window and works half of the time."""
    row = {
        "ts": at,
        "window_s": 10,
        "cluster": "east",
        "host": "host-0",
        "host_pool": "production",
        "gpu": "GPU-0",
        "gpu_model": GPU_MODELS[0],
        "pid": 7,
        "process_name": "serve",
        "user": "ann",
        "team": "search",
        "model": "ranker",
        "endpoint": "chat",
        "use_case": "",
        "pool": "production",
        "workload_kind": "container",
        "workload": "web",
        "present_ms": 10_000,
        "held_ms": 10_000,
        "sm_busy_ms": 5_000,
        "sm_pct_max": 60,
        "sm_source": "process",
        "mem_mib_mean": 4_096,
        "mem_mib_max": 8_192,
        "mem_source": "driver",
    }
    return row | given


def gpu(at: datetime, **given: Any) -> Row:
    """A GPU that was watched for a whole window and held all the time."""
    row = {
        "ts": at,
        "window_s": 10,
        "cluster": "east",
        "host": "host-0",
        "host_pool": "production",
        "gpu": "GPU-0",
        "gpu_model": GPU_MODELS[0],
        "observed_ms": 10_000,
        "unallocated_ms": 0,
        "sm_busy_ms": 5_000,
        "sm_source": "device",
        "mem_total_mib": 81_920,
        "offered": 1,
    }
    return row | given


def grant(at: datetime, **given: Any) -> Row:
    """A grant on which nothing ran for a window."""
    row = {
        "ts": at,
        "window_s": 10,
        "cluster": "east",
        "host": "host-0",
        "host_pool": "production",
        "gpu": "GPU-0",
        "gpu_model": GPU_MODELS[0],
        "team": "search",
        "model": "ranker",
        "endpoint": "chat",
        "use_case": "",
        "pool": "production",
        "workload_kind": "container",
        "workload": "web",
        "granted_ms": 10_000,
        "unheld_ms": 10_000,
    }
    return row | given


def fill_an_hour(client: Client, **owner: Any) -> None:
    """One GPU that one process holds for the whole of BASE's hour, rolled up."""
    starts = [BASE + timedelta(seconds=10 * window) for window in range(360)]
    insert(client, "gpu_usage_raw", [gpu(ts) for ts in starts])
    insert(client, "process_usage_raw", [process(ts, **owner) for ts in starts])
    Rollup(client, settle_s=0).run_once()


def hour_of(row: Row) -> datetime:
    """Start of the hour of a row's window."""
    ts: datetime = row["ts"]
    return ts.replace(minute=0, second=0)


def owner_key(row: Row) -> OwnerKey:
    """Where the ledger files a row."""
    return (
        hour_of(row),
        row["cluster"],
        row["pool"],
        row["team"] or "unattributed",
        row["model"],
        row["endpoint"],
        row["gpu_model"],
    )


def _add_window(fleet: Fleet, rng: random.Random, place: Row) -> None:
    observed = rng.randint(0, 10_000)
    holders, grants = rng.randint(0, 3), rng.randint(0, 2)
    unallocated, *parts = _divide(rng, observed, 1 + holders + grants)
    fleet.rows["gpu_usage_raw"].append(_gpu(place, observed, unallocated))
    for pid, held in enumerate(parts[:holders], 1):
        fleet.rows["process_usage_raw"].append(_process(rng, place, pid, held))
    for number, unheld in enumerate(parts[holders:]):
        owner = {**place, **_owner(rng), "workload": f"job-{number}", "unheld_ms": unheld}
        at = owner.pop("ts")
        fleet.rows["gpu_allocation_raw"].append(grant(at, **owner))


def _gpu(place: Row, observed: int, unallocated: int) -> Row:
    given = {**place, "observed_ms": observed, "unallocated_ms": unallocated}
    return gpu(given.pop("ts"), **given)


def _process(rng: random.Random, place: Row, pid: int, held: int) -> Row:
    given = {
        **place,
        **_owner(rng),
        "pid": pid,
        "present_ms": rng.randint(held, 10_000),
        "held_ms": held,
        "sm_busy_ms": rng.choice((0, rng.randint(0, held))),
        "sm_source": rng.choice(("process", "device", "apportioned", "gpm", "unknown")),
        "mem_source": rng.choice(("driver", "unknown")),
    }
    return process(given.pop("ts"), **given)


def _owner(rng: random.Random) -> Row:
    return {
        "team": rng.choice(TEAMS),
        "model": rng.choice(MODELS),
        "endpoint": rng.choice(ENDPOINTS),
        "use_case": rng.choice(("", "batch")),
        "pool": rng.choice(POOLS),
    }


def _divide(rng: random.Random, total: int, parts: int) -> list[int]:
    edges = sorted(rng.randint(0, total) for _ in range(parts - 1))
    return [high - low for low, high in zip([0, *edges], [*edges, total], strict=True)]
