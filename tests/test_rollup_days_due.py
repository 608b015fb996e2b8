"""Which days are due: over, rested, changed since; and once more before their hours go."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.rollup import Rollup
from gpuledger_collector.rollup_days import DayRollup
from gpuledger_collector.store.client import StoreConfig, connect
from tests.ledger_fleet import BASE, insert, keep, process
from tests.waiting import wait_until


def mark(client: Client, *, rolled: str, computed: str) -> None:
    """BASE's hour was rolled up, and its day computed, so long ago."""
    client.command(
        f"INSERT INTO rolled_hours SELECT toDateTime({BASE.timestamp():.0f}, 'UTC'),"
        f" now64(6) - INTERVAL {rolled}, now64(6) - INTERVAL {rolled}"
    )
    client.command(
        f"INSERT INTO rolled_days SELECT '{BASE:%Y-%m-%d}', now64(6) - INTERVAL {computed}"
    )


def test_days_when_their_hours_have_not_rested_or_they_are_not_over_then_they_wait(
    client: Client,
) -> None:
    insert(client, "process_usage_raw", [process(BASE)])
    Rollup(client, settle_s=0).run_once()
    assert DayRollup(client).run_once() == 0
    assert DayRollup(client, rest_s=0).run_once() == 1
    present = "toStartOfHour(now('UTC'))"
    client.command(f"INSERT INTO rolled_hours SELECT {present}, now64(6), now64(6)")
    assert DayRollup(client, rest_s=0).run_once() == 0


def test_day_when_the_roll_up_of_an_hour_ended_after_it_then_it_is_due_again(
    client: Client,
) -> None:
    mark(client, rolled="2 HOUR", computed="90 MINUTE")
    assert DayRollup(client, rest_s=3600).run_once() == 1


@pytest.mark.parametrize("hourly_days", [8, 30])
@pytest.mark.parametrize(
    ("applied", "since", "due"), [("1 HOUR", 0, 1), ("9 DAY", 0, 0), ("1 HOUR", 1, 0)]
)
def test_day_when_a_price_applied_since_reaches_back_to_it_then_it_is_computed_again_once(
    client: Client, hourly_days: int, applied: str, since: int, due: int
) -> None:
    mark(client, rolled="9 DAY", computed="1 DAY")
    keep(client, "hourly", hourly_days)
    client.command(
        "INSERT INTO gpu_prices (usd_per_gpu_hour, priced_from, applied_at)"
        f" SELECT 2.5, toDateTime('{BASE:%Y-%m-%d} 00:00:00', 'UTC') + INTERVAL {since} DAY,"
        f" now64(6) - INTERVAL {applied}"
    )
    days = DayRollup(client)
    assert (days.run_once(), days.run_once()) == (due, 0)


@pytest.mark.parametrize(
    ("versions", "due"), [([("40", "1")], 1), ([("1", "1")], 0), ([("40", "60"), ("40", "1")], 0)]
)
def test_day_when_a_request_applied_since_reaches_back_to_it_then_it_is_computed_again(
    client: Client, versions: list[tuple[str, str]], due: int
) -> None:
    """A new request counts from its beginning, a new version of one from when it was applied."""
    mark(client, rolled="9 DAY", computed="1 DAY")
    for began_days_ago, applied_hours_ago in versions:
        client.command(
            "INSERT INTO capacity_requests (id, team, gpus, status, requested_from, applied_at)"
            f" SELECT 'a', 'search', 1, 'approved', now() - INTERVAL {began_days_ago} DAY,"
            f" now64(6) - INTERVAL {applied_hours_ago} HOUR"
        )
    assert DayRollup(client).run_once() == due


@pytest.mark.parametrize(
    ("began", "applied", "due"),
    [("40 DAY", "1 HOUR", 1), ("40 DAY", "9 DAY", 0), ("1 HOUR", "1 HOUR", 0)],
)
def test_day_when_an_objective_applied_since_reaches_back_to_it_then_it_is_computed_again(
    client: Client, began: str, applied: str, due: int
) -> None:
    mark(client, rolled="9 DAY", computed="1 DAY")
    client.command(
        "INSERT INTO slos (percentile, valid_from, applied_at)"
        f" SELECT 95, now() - INTERVAL {began}, now64(6) - INTERVAL {applied}"
    )
    assert DayRollup(client).run_once() == due


@pytest.mark.parametrize(("hourly_days", "due"), [(9, 1), (30, 0)])
def test_day_when_its_last_week_by_the_hour_begins_then_it_is_computed_once_more(
    client: Client, hourly_days: int, due: int
) -> None:
    mark(client, rolled="9 DAY", computed="3 DAY")
    keep(client, "hourly", hourly_days)
    days = DayRollup(client)
    assert (days.run_once(), days.run_once()) == (due, 0)


def test_run_when_a_day_is_due_then_it_is_computed_beside_the_hours(
    client: Client, database: StoreConfig
) -> None:
    mark(client, rolled="3 HOUR", computed="150 MINUTE")
    fresh = "SELECT max(computed_at) > now64(6) - INTERVAL 1 HOUR FROM rolled_days"
    stop = threading.Event()
    with connect(database) as own:
        rollup = Rollup(own, pause_s=0.02)
        thread = threading.Thread(target=rollup.run, args=(stop,))
        thread.start()
        try:
            wait_until(lambda: bool(client.query(fresh).result_rows[0][0]))
        finally:
            stop.set()
            thread.join()


def test_leaving_when_fewer_days_of_hours_are_kept_then_it_names_those_that_lose_theirs(
    client: Client,
) -> None:
    mark(client, rolled="1 DAY", computed="1 HOUR")
    days = DayRollup(client)
    ago = (datetime.now(UTC).date() - BASE.date()).days
    assert (days.leaving(ago + 1), days.leaving(ago)) == ([], [f"{BASE:%Y-%m-%d}"])
    keep(client, "hourly", ago)
    assert days.leaving(ago - 1) == []
