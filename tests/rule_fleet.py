"""Fleets for the rules: a healthy one, and ways to spoil it in one respect each.

Windows are a minute long. The healthy fleet is two teams on H100s of their own, each with a
request for what it uses, with days and nights; everything is `HOURS` long and ends at `END`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger.prices import BOOK as PRICES
from gpuledger_collector.ledger.prices import GpuPrice
from gpuledger_collector.ledger.requests import BOOK as REQUESTS
from gpuledger_collector.ledger.requests import CapacityRequest
from gpuledger_collector.rollup import Rollup
from tests.ledger_fleet import Row, gpu, grant, insert, process

END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
HOURS = 25
BEGIN = END - timedelta(hours=HOURS)
MINUTE = 60_000
GIB = 1024
HELD = {"window_s": 60, "present_ms": MINUTE, "held_ms": MINUTE}


def minutes(hours: float = HOURS, until: datetime = END) -> list[datetime]:
    """Starts of the windows of so many hours before `until`."""
    count = round(hours * 60)
    return [until - timedelta(minutes=count - number) for number in range(count)]


def load_at(at: datetime) -> int:
    """SM-busy milliseconds of a minute: days and nights, less at weekends, never nothing."""
    day = 0.5 + 0.35 * math.sin(2 * math.pi * (at.hour + at.minute / 60) / 24)
    return int(MINUTE * day * (0.7 if at.weekday() >= 5 else 1))


def work(times: Iterable[datetime], number: int = 0, **given: Any) -> list[Row]:
    """A replica on GPU `number` of its team's host, busy with the day."""
    return [
        process(
            at,
            **{
                **HELD,
                "gpu": f"GPU-{given.get('host', 'host-0')}-{number}",
                "workload": f"web-{number}",
                "sm_busy_ms": load_at(at),
                "mem_mib_mean": 60 * GIB,
                "mem_mib_max": 62 * GIB,
            }
            | given,
        )
        for at in times
    ]


def unheld(times: Iterable[datetime], **given: Any) -> list[Row]:
    """A grant on which nothing runs."""
    return [
        grant(at, **{"window_s": 60, "granted_ms": MINUTE, "unheld_ms": MINUTE} | given)
        for at in times
    ]


def speech(times: Iterable[datetime], number: int = 0, **given: Any) -> list[Row]:
    """The other team's replica, on its own host."""
    owner = {"host": "host-1", "team": "speech", "model": "encoder", "endpoint": "asr"}
    return work(times, number, **owner | given)


def healthy(hours: float = HOURS) -> Iterator[Row]:
    """Both teams, two GPUs each, in the last hours."""
    for number in range(2):
        yield from work(minutes(hours), number)
        yield from speech(minutes(hours), number)


def ask(client: Client, *wanted: CapacityRequest) -> None:
    """Put requests into the books, and a price of 2 USD."""
    PRICES.apply(client, [GpuPrice("H100", "", Decimal(2), BEGIN - timedelta(days=30))])
    REQUESTS.apply(client, wanted)


def request(team: str = "search", gpus: int = 2, **given: Any) -> CapacityRequest:
    """A request for what the healthy fleet uses."""
    fields = {
        "id": f"{team}-request",
        "team": team,
        "model": "",
        "endpoint": "",
        "use_case": "",
        "pool": "production",
        "gpu_model": "H100",
        "gpus": Decimal(gpus),
        "gpu_memory_gib": None,
        "expected_sm_pct": None,
        "requested_from": BEGIN - timedelta(days=30),
        "requested_until": None,
        "status": "approved",
        "owner": "ann",
        "reason": "",
    }
    return CapacityRequest(**fields | given)


def fill(client: Client, processes: Iterable[Row], grants: Iterable[Row] = ()) -> None:
    """Put rows into the books, with the GPUs under them and hosts that report to the end."""
    processes, grants = list(processes), list(grants)
    places = ("cluster", "host", "host_pool", "gpu", "gpu_model")
    seen = {(row["ts"], row["host"], row["gpu"]): row for row in [*processes, *grants]}
    insert(
        client,
        "gpu_usage_raw",
        [
            gpu(row["ts"], **{name: row[name] for name in places} | {"window_s": 60,
                "observed_ms": MINUTE, "sm_busy_ms": 0})
            for row in seen.values()
        ],
    )  # fmt: skip
    insert(client, "process_usage_raw", processes)
    insert(client, "gpu_allocation_raw", grants)
    hosts = {(row["cluster"], row["host"], row["host_pool"]) for row in seen.values()}
    for cluster, host, pool in hosts:
        introduce(client, cluster, host, pool)
        report(client, minutes(1), cluster=cluster, host=host)
    rollup = Rollup(client, settle_s=0)
    while rollup.run_once():
        pass


def introduce(client: Client, cluster: str, host: str, pool: str, at: datetime = BEGIN) -> None:
    """A host's hello."""
    row = {"cluster": cluster, "host": host, "host_pool": pool, "agent_version": "0.1.0"}
    insert(client, "hosts_raw", [row | {"seen_at": at}])


def report(client: Client, times: Iterable[datetime], **given: Any) -> None:
    """An agent's windows about itself."""
    rows = [{"ts": at, "window_s": 60, "ticks": 60} | given for at in times]
    insert(client, "agent_health_raw", rows)
