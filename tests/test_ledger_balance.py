"""Whatever the fleet: the books balance, and say what the rows say."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_collector.rollup import Rollup
from tests.ledger_fleet import BASE, MS_PER_HOUR, Fleet, empty, gpu, insert, random_fleet
from tests.random_books import RANDOM_BOOKS


def deliver(client: Client, fleet: Fleet, rng: random.Random) -> None:
    """Insert the rows as a network would: some late, some twice, roll-ups in between."""
    rollup = Rollup(client, settle_s=0)
    late = {name: [r for r in rows if rng.random() < 0.3] for name, rows in fleet.rows.items()}
    for name, rows in fleet.rows.items():
        insert(client, name, [row for row in rows if row not in late[name]])
    rollup.run_once()
    for name, rows in fleet.rows.items():
        insert(client, name, [*late[name], *rng.sample(rows, len(rows) // 2)])
    rollup.run_once()


def ledger(client: Client) -> dict[Any, Any]:
    rows = client.query("SELECT * FROM ledger_hourly", tz_mode="aware").named_results()
    names = ("hour", "cluster", "pool", "team", "model", "endpoint", "gpu_model")
    return {tuple(row[name] for name in names): row for row in rows}


@settings(RANDOM_BOOKS, max_examples=6)
@given(rng=st.randoms(use_true_random=False))
def test_ledger_when_rows_come_late_and_twice_then_it_balances_and_tells_the_truth(
    client: Client, rng: random.Random
) -> None:
    empty(client)
    fleet = random_fleet(rng)
    deliver(client, fleet, rng)
    assert_owners_are(client, fleet)
    assert_balanced(client, fleet)
    assert_roll_ups_agree(client)


def assert_owners_are(client: Client, fleet: Fleet) -> None:
    told, truth = ledger(client), fleet.owners()
    assert told.keys() == truth.keys()
    for key, books in truth.items():
        expected = {
            "held": books.held,
            "allocated": books.allocated,
            "active": books.active,
            "busy": books.busy,
            "idle": books.idle,
            "underused": books.active - books.busy,
            "unmeasured": books.unmeasured,
            "waste": books.idle + books.active - books.busy,
        }
        for name, ms in expected.items():
            assert told[key][f"{name}_gpu_hours"] == pytest.approx(ms / MS_PER_HOUR), (key, name)


def assert_balanced(client: Client, fleet: Fleet) -> None:
    balance = client.query(
        "SELECT hour, cluster, pool, gpu_model, capacity_gpu_hours, unallocated_gpu_hours,"
        " difference_gpu_hours FROM ledger_balance",
        tz_mode="aware",
    ).result_rows
    told = {tuple(row[:4]): pytest.approx((row[4], row[5])) for row in balance}
    assert told == {
        key: (observed / MS_PER_HOUR, unallocated / MS_PER_HOUR)
        for key, (observed, unallocated) in fleet.capacity().items()
    }
    assert {row[6] for row in balance} == {0.0}


def assert_roll_ups_agree(client: Client) -> None:
    """Workloads add up to owners, and minutes to hours."""
    sums = "sum(held_ms), sum(unheld_ms), sum(active_ms), sum(busy_ms), sum(unmeasured_ms)"
    by_hour = f"SELECT hour, pool, team, model, {sums} FROM {{}} GROUP BY 1, 2, 3, 4 ORDER BY ALL"
    owners = client.query(by_hour.format("usage_hourly")).result_rows
    assert client.query(by_hour.format("workload_hourly")).result_rows == owners
    [minutes] = client.query(
        "SELECT sum(arraySum(active_gpu_ms_by_minute)) - sum(active_ms),"
        " sum(arraySum(allocated_gpu_ms_by_minute)) - sum(held_ms + unheld_ms),"
        " sum(arraySum(unmeasured_gpu_ms_by_minute)) - sum(unmeasured_ms),"
        " countIf(length(active_gpu_ms_by_minute) != 60) FROM usage_hourly"
    ).result_rows
    assert minutes == (0, 0, 0, 0)


def test_balance_when_a_process_row_is_lost_then_the_difference_is_its_time(
    client: Client,
) -> None:
    fleet = random_fleet(random.Random(7))
    lost = max(fleet.rows["process_usage_raw"], key=lambda row: int(row["held_ms"]))
    assert lost["held_ms"] > 0
    fleet.rows["process_usage_raw"].remove(lost)
    for name, rows in fleet.rows.items():
        insert(client, name, rows)
    Rollup(client, settle_s=0).run_once()
    differences = client.query(
        "SELECT hour, pool, difference_gpu_hours FROM ledger_balance"
        " WHERE difference_gpu_hours != 0",
        tz_mode="aware",
    ).result_rows
    hour: datetime = lost["ts"].replace(minute=0, second=0)
    assert differences == [(hour, lost["host_pool"], pytest.approx(lost["held_ms"] / MS_PER_HOUR))]


def test_balance_when_rows_have_just_come_then_the_hour_is_not_settled(client: Client) -> None:
    insert(client, "gpu_usage_raw", [gpu(BASE)])
    Rollup(client, settle_s=0).run_once()
    settled = "SELECT settled FROM ledger_balance"
    assert client.query(settled).result_rows == [(False,)]
    client.command(
        "INSERT INTO rolled_hours SELECT hour, computed_at, rolled_at + INTERVAL 1 HOUR"
        " FROM rolled_hours"
    )
    assert client.query(settled).result_rows == [(True,)]
