"""Days that were computed after all that they depend on are read instead of their hours."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_collector.rollup import Rollup
from gpuledger_collector.rollup_days import DayRollup
from tests.day_books import figures, held_by_day, same_as
from tests.ledger_fleet import BASE, Row, empty, gpu, insert, process
from tests.random_books import RANDOM_BOOKS
from tests.slo_books import objective, promise
from tests.test_rollup_days import price, request, two_days
from tests.traffic_books import served

NEVER = date(2106, 1, 1)


def rest(client: Client) -> None:
    """Roll up hours, let them rest for two hours, and compute their days."""
    rollup = Rollup(client, settle_s=0)
    while rollup.run_once():
        pass
    hours = client.query(
        "SELECT hour, computed_at, rolled_at - INTERVAL 2 HOUR AS rolled_at"
        " FROM rolled_hours FINAL",
        tz_mode="aware",
    )
    for table in ("touched_hours", "rolled_hours"):
        client.command(f"TRUNCATE TABLE {table}")
    insert(client, "rolled_hours", list(hours.named_results()))
    days = DayRollup(client)
    while days.run_once():
        pass


def read_by_hour(client: Client) -> tuple[date, date, date]:
    [row] = client.query("SELECT hours_from, ledger_from, slos_from FROM read_by_hour").result_rows
    return row


def _served(rng: random.Random, number: int) -> Row:
    took = [10 ** rng.uniform(1, 4) for _ in range(rng.randint(0, 9))]
    model = rng.choice(("llama", "bert"))
    return served(BASE + timedelta(minutes=97 * number), took, model=model)


@pytest.mark.timeout(600)
@settings(RANDOM_BOOKS, max_examples=3)
@given(rng=st.randoms(use_true_random=False))
def test_views_by_day_when_days_stand_then_they_say_what_the_hours_say(
    client: Client, rng: random.Random
) -> None:
    empty(client)
    insert(client, "capacity_requests", [request(rng, number) for number in range(3)])
    insert(client, "gpu_prices", [price(2.5, gpu_model=rng.choice(("", "h100")))])
    promise(client, objective(model=rng.choice(("", "llama"))))
    insert(client, "endpoint_traffic_raw", [_served(rng, number) for number in range(20)])
    for table, rows in two_days(rng).rows.items():
        insert(client, table, rows)
    rest(client)
    read = figures(client)
    assert read_by_hour(client) == (NEVER, NEVER, NEVER)
    client.command("TRUNCATE TABLE rolled_days")
    assert figures(client) == same_as(read)
    assert read["traffic_daily"]
    assert read["scaling_verdict"]


def test_day_when_a_late_row_changes_an_hour_then_its_hours_are_read_at_once(
    client: Client,
) -> None:
    insert(client, "process_usage_raw", [process(BASE)])
    rest(client)
    insert(client, "process_usage_raw", [process(BASE, pid=8, team="speech")])
    Rollup(client, settle_s=0).run_once()
    assert read_by_hour(client) == (BASE.date(), BASE.date(), BASE.date())
    assert set(held_by_day(client, BASE)) == {"search", "speech"}


@pytest.mark.parametrize(
    ("priced_from", "stands"),
    [(BASE - timedelta(days=9), False), (BASE + timedelta(days=1), True)],
)
def test_day_when_a_price_is_applied_then_it_counts_at_once_where_it_reaches_back(
    client: Client, priced_from: datetime, stands: bool
) -> None:
    insert(client, "gpu_usage_raw", [gpu(BASE)])
    insert(client, "process_usage_raw", [process(BASE)])
    rest(client)
    applied_at = datetime.now(UTC)
    insert(client, "gpu_prices", [price(4, priced_from=priced_from, applied_at=applied_at)])
    assert read_by_hour(client) == (NEVER, NEVER if stands else BASE.date(), NEVER)
    [(usd,)] = client.query("SELECT allocated_usd FROM ledger_daily").result_rows
    assert usd == (None if stands else pytest.approx(4 * 10 / 3600))


@pytest.mark.parametrize(("days", "stands"), [(-9, False), (1, True)])
def test_day_when_an_objective_is_applied_then_it_counts_at_once_where_it_reaches_back(
    client: Client, days: int, stands: bool
) -> None:
    insert(client, "endpoint_traffic_raw", [served(BASE, [200.0])])
    rest(client)
    promise(client, objective(valid_from=BASE + timedelta(days=days)))
    assert read_by_hour(client) == (NEVER, NEVER, NEVER if stands else BASE.date())
    [(verdict,)] = client.query("SELECT verdict FROM scaling_verdict").result_rows
    assert verdict == ("no_objective" if stands else "enough")


def test_traffic_when_a_late_row_changes_an_hour_then_it_shows_by_day_at_once(
    client: Client,
) -> None:
    insert(client, "endpoint_traffic_raw", [served(BASE, [200.0])])
    rest(client)
    insert(client, "endpoint_traffic_raw", [served(BASE + timedelta(seconds=10), [200.0])])
    Rollup(client, settle_s=0).run_once()
    for view in ("traffic_daily", "scaling_verdict", "load_profile"):
        assert client.query(f"SELECT sum(requests) FROM {view}").result_rows == [(2,)]
