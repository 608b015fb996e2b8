"""Which usage belongs to which request, and what nobody claimed: against a plain Python truth."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_collector.rollup import Rollup
from tests.ledger_fleet import (
    BASE,
    ENDPOINTS,
    MODELS,
    MS_PER_HOUR,
    POOLS,
    TEAMS,
    Fleet,
    Row,
    empty,
    fill_an_hour,
    gpu,
    hour_of,
    insert,
    process,
    random_fleet,
)
from tests.random_books import RANDOM_BOOKS

LONG_AGO = BASE - timedelta(days=30)

GroupKey = tuple[str, str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a capacity request, as applied."""

    id: str
    applied_at: datetime
    key: GroupKey
    gpus: int
    requested_from: datetime
    requested_until: datetime | None
    status: str = "approved"

    def row(self) -> Row:
        names = ("team", "pool", "model", "endpoint", "use_case", "gpu_model")
        return {
            "id": self.id,
            "applied_at": self.applied_at,
            **dict(zip(names, self.key, strict=True)),
            "gpus": self.gpus,
            "requested_from": self.requested_from,
            "requested_until": self.requested_until,
            "status": self.status,
        }


def version(**given: Any) -> Version:
    fields = {
        "id": "a",
        "applied_at": LONG_AGO,
        "key": ("search", "production", "", "", "", ""),
        "gpus": 4,
        "requested_from": LONG_AGO,
        "requested_until": None,
    }
    return Version(**(fields | given))


def counting(versions: Sequence[Version]) -> list[tuple[Version, datetime, datetime]]:
    """Approved versions with the time in which each counts."""
    result = []
    for name in {v.id for v in versions}:
        history = sorted((v for v in versions if v.id == name), key=lambda v: v.applied_at)
        for number, v in enumerate(history):
            start = v.requested_from if number == 0 else max(v.requested_from, v.applied_at)
            ends = [v.requested_until, *(w.applied_at for w in history[number + 1 : number + 2])]
            end = min((e for e in ends if e), default=BASE + timedelta(days=99))
            if v.status == "approved" and start < end:
                result.append((v, start, end))
    return result


def fits(key: GroupKey, row: Row) -> bool:
    team, pool, model, endpoint, use_case, gpu_model = key
    return (
        (team, pool) == (row["team"], row["pool"])
        and model in {"", row["model"]}
        and endpoint in {"", row["endpoint"]}
        and use_case in {"", row["use_case"]}
        and gpu_model.lower() in row["gpu_model"].lower()
    )


def specificity(key: GroupKey) -> tuple[int, ...]:
    _, _, model, endpoint, use_case, gpu_model = key
    given = [bool(endpoint), bool(model), bool(use_case), bool(gpu_model)]
    return (sum(given), *given[:3], len(gpu_model))


def truth(fleet: Fleet, versions: Sequence[Version]) -> dict[tuple[datetime, str], list[float]]:
    """GPU-hours requested and unclaimed per hour and team."""
    allocated: dict[tuple[datetime, GroupKey], int] = defaultdict(int)
    requested: dict[tuple[datetime, GroupKey], float] = defaultdict(float)
    windows = fleet.rows["gpu_usage_raw"]
    gpu_pools = {row["host_pool"] for row in windows}
    for v, start, end in counting(versions):
        seen = [r for r in windows if r["host_pool"] == v.key[1] or v.key[1] not in gpu_pools]
        for hour in {hour_of(row) for row in seen}:
            starts = [row["ts"] for row in seen if hour_of(row) == hour]
            seen_from, seen_until = min(starts), max(starts) + timedelta(seconds=10)
            seconds = (min(end, seen_until) - max(start, seen_from)).total_seconds()
            if seconds > 0:
                requested[hour, v.key] += v.gpus * seconds / 3600
    for table, names in (
        ("process_usage_raw", "held_ms"),
        ("gpu_allocation_raw", "unheld_ms"),
    ):
        for row in fleet.rows[table]:
            fitting = [key for hour, key in requested if hour == hour_of(row) and fits(key, row)]
            if fitting:
                allocated[hour_of(row), max(fitting, key=specificity)] += row[names]
    told: dict[tuple[datetime, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for (hour, key), hours in requested.items():
        told[hour, key[0]][0] += hours
        told[hour, key[0]][1] += max(hours - allocated[hour, key] / MS_PER_HOUR, 0)
    return dict(told)


def random_versions(rng: random.Random) -> list[Version]:
    versions = []
    for number in range(rng.randint(1, 8)):
        applied_at = rng.choice((LONG_AGO, BASE + timedelta(minutes=45)))
        for _ in range(rng.randint(1, 2)):
            start = BASE + timedelta(minutes=rng.choice((-9999, 17, 65, 300)))
            versions.append(
                Version(
                    id=f"request-{number}",
                    applied_at=applied_at,
                    key=(
                        rng.choice((*TEAMS[1:], "search")),
                        rng.choice((*POOLS, "production")),
                        rng.choice(MODELS),
                        rng.choice(ENDPOINTS),
                        rng.choice(("", "batch")),
                        rng.choice(("", "h100", "L4")),
                    ),
                    gpus=rng.randint(1, 8),
                    requested_from=start,
                    requested_until=rng.choice((None, start + timedelta(minutes=90))),
                    status=rng.choice(("approved", "approved", "withdrawn")),
                )
            )
            applied_at += timedelta(minutes=rng.choice((7, 60, 30 * 1440)))
    return versions


def told_by_team(client: Client) -> dict[tuple[datetime, str], Any]:
    rows = client.query(
        "SELECT hour, team, sum(requested_gpu_hours), sum(unclaimed_gpu_hours)"
        " FROM ledger_hourly GROUP BY hour, team HAVING sum(requested_gpu_hours) > 0",
        tz_mode="aware",
    ).result_rows
    return {(hour, team): pytest.approx(sums) for hour, team, *sums in rows}


@settings(RANDOM_BOOKS, max_examples=12)
@given(rng=st.randoms(use_true_random=False))
def test_ledger_when_requests_are_any_then_requested_and_unclaimed_are_the_truth(
    client: Client, rng: random.Random
) -> None:
    empty(client)
    fleet, versions = random_fleet(rng), random_versions(rng)
    for table, rows in fleet.rows.items():
        insert(client, table, rows)
    insert(client, "capacity_requests", [v.row() for v in versions])
    Rollup(client, settle_s=0).run_once()
    assert told_by_team(client) == truth(fleet, versions)


def filled(client: Client, *versions: Version, **owner: Any) -> None:
    """One GPU, used for a whole hour, beside these requests."""
    insert(client, "capacity_requests", [v.row() for v in versions])
    fill_an_hour(client, **owner)


@pytest.mark.parametrize(
    ("wider", "closer"),
    [
        (("", "", "", ""), ("ranker", "", "", "")),
        (("", "", "", "H100"), ("ranker", "", "", "H100")),
        (("ranker", "", "", "NVIDIA H100"), ("ranker", "", "batch", "L4")),
        (("ranker", "", "", ""), ("", "chat", "", "")),
        (("", "", "", "h100"), ("ranker", "", "", "")),
        (("ranker", "", "", "h100"), ("ranker", "chat", "", "")),
        (("", "", "", "h100"), ("", "", "", "H100 80GB")),
    ],
)
def test_usage_when_two_requests_fit_then_it_belongs_to_the_more_specific(
    client: Client, wider: tuple[str, ...], closer: tuple[str, ...]
) -> None:
    asked = {"wider": wider, "closer": closer}
    filled(
        client,
        *(
            version(id=name, key=("search", "production", *key), gpus=1)
            for name, key in asked.items()
        ),
    )
    rows = client.query("SELECT id, allocated_gpus_p95 FROM request_review").result_rows
    fitting = "L4" not in closer
    assert dict(rows) == {"wider": float(not fitting), "closer": float(fitting)}


def test_ledger_when_a_request_is_applied_late_then_only_its_first_version_reaches_back(
    client: Client,
) -> None:
    afterwards = BASE + timedelta(hours=3)
    filled(
        client,
        version(gpus=4, applied_at=afterwards),
        version(gpus=9, applied_at=afterwards + timedelta(minutes=1)),
    )
    rows = client.query("SELECT sum(requested_gpu_hours) FROM ledger_hourly").result_rows
    assert rows == [(4.0,)]


def test_ledger_when_a_pool_has_no_telemetry_then_its_requests_are_not_called_unclaimed(
    client: Client,
) -> None:
    other = {"host": "host-1", "host_pool": "experiment", "gpu": "GPU-1"}
    insert(client, "gpu_usage_raw", [gpu(BASE - timedelta(hours=1), **other)])
    filled(client, version(key=("search", "experiment", "", "", "", "")))
    rows = client.query(
        "SELECT hour, requested_gpu_hours FROM ledger_hourly WHERE requested_gpu_hours > 0",
        tz_mode="aware",
    ).result_rows
    assert rows == [(BASE - timedelta(hours=1), pytest.approx(40 / 3600))]


def test_ledger_when_a_team_asked_and_ran_nothing_then_its_row_is_there(client: Client) -> None:
    filled(client, version(key=("ghost", "production", "", "", "", "h100")))
    rows = client.query(
        "SELECT gpu_model, cluster, requested_gpu_hours, allocated_gpu_hours, unclaimed_gpu_hours"
        " FROM ledger_hourly WHERE team = 'ghost'"
    ).result_rows
    assert rows == [("NVIDIA H100 80GB HBM3", "east", 4.0, 0.0, 4.0)]


def test_ledger_when_the_hour_is_not_over_then_only_the_observed_part_counts(
    client: Client,
) -> None:
    starts = [BASE + timedelta(seconds=10 * window) for window in range(90)]
    insert(client, "gpu_usage_raw", [gpu(ts) for ts in starts])
    insert(client, "process_usage_raw", [process(ts) for ts in starts])
    insert(client, "capacity_requests", [version(gpus=1).row()])
    Rollup(client, settle_s=0).run_once()
    rows = client.query(
        "SELECT sum(requested_gpu_hours), sum(unclaimed_gpu_hours) FROM ledger_hourly"
    ).result_rows
    assert rows == [(0.25, 0.0)]


def test_ledger_when_a_request_and_its_usage_have_one_key_then_they_share_a_row(
    client: Client,
) -> None:
    filled(client, version(key=("search", "production", "ranker", "chat", "", "H100")))
    rows = client.query(
        "SELECT requested_gpu_hours, allocated_gpu_hours, unclaimed_gpu_hours, waste_gpu_hours"
        " FROM ledger_hourly"
    ).result_rows
    assert rows == [(4.0, 1.0, 3.0, 3.5)]
