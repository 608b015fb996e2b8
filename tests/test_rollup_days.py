"""Daily books: what hours said, when they have gone."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_collector.rollup import Rollup
from gpuledger_collector.rollup_days import VIEWS, DayRollup, table_of
from tests.day_books import figures, held_by_day, post, roll_up, same_as
from tests.ledger_fleet import (
    BASE,
    GPU_MODELS,
    POOLS,
    TEAMS,
    Fleet,
    Row,
    empty,
    gpu,
    hour_of,
    insert,
    keep,
    process,
    random_fleet,
)
from tests.random_books import RANDOM_BOOKS
from tests.traffic_books import served

DAY = timedelta(days=1)
WINDOW_H = pytest.approx(10 / 3600)
"""Hours that one process of a test holds its GPU."""


class Killed(BaseException):
    """The end of a process, as far as a roll-up can tell."""


class KilledBefore(DayRollup):
    """A roll-up of days that dies before one of its statements, the first being 0."""

    def __init__(self, client: Client, statement: int) -> None:
        super().__init__(client, rest_s=0)
        self._left = statement

    def _execute(self, name: str, **parameters: str) -> None:
        if not self._left:
            raise Killed
        self._left -= 1
        super()._execute(name, **parameters)


def request(rng: random.Random, number: int) -> Row:
    return {
        "id": f"request-{number}",
        "applied_at": BASE - 30 * DAY,
        "team": rng.choice(TEAMS[1:]),
        "pool": rng.choice(POOLS),
        "gpu_model": rng.choice(("", "h100", "L4")),
        "gpus": rng.randint(1, 8),
        "requested_from": BASE - 30 * DAY,
        "status": "approved",
    }


def price(usd: float, **given: Any) -> Row:
    row = {
        "gpu_model": "",
        "pool": "",
        "priced_from": BASE - 30 * DAY,
        "usd_per_gpu_hour": usd,
        "applied_at": BASE - 30 * DAY,
    }
    return row | given


def two_days(rng: random.Random) -> Fleet:
    """A fleet of which some hours lie a day later."""
    fleet = random_fleet(rng)
    later = {hour: rng.random() < 0.4 for hour in sorted({*map(hour_of, fleet_rows(fleet))})}
    for row in fleet_rows(fleet):
        row["ts"] += DAY * later[hour_of(row)]
    for row in fleet.rows["gpu_usage_raw"]:
        # However short it was watched, every whole GPU has the same memory.
        row["mem_total_mib"] = 8 * row["observed_ms"]
    return fleet


def fleet_rows(fleet: Fleet) -> list[Row]:
    return [row for rows in fleet.rows.values() for row in rows]


@pytest.mark.timeout(300)
@settings(RANDOM_BOOKS, max_examples=3)
@given(rng=st.randoms(use_true_random=False))
def test_views_by_day_when_hours_have_gone_then_they_say_what_the_hours_said(
    client: Client, rng: random.Random
) -> None:
    empty(client)
    insert(client, "capacity_requests", [request(rng, number) for number in range(3)])
    insert(client, "gpu_prices", [price(2.5, gpu_model=rng.choice(("", "h100")))])
    post(client, two_days(rng))
    said = figures(client)
    assert said["ledger_daily"]
    for kept in (2, 1):
        keep(client, "hourly", kept)
        assert figures(client) == same_as(said)
    assert client.query("SELECT count() FROM usage_hourly").result_rows == [(0,)]


def test_day_when_late_rows_change_an_hour_then_the_day_is_computed_again(client: Client) -> None:
    insert(client, "process_usage_raw", [process(BASE)])
    roll_up(client)
    late = [process(BASE + timedelta(hours=3)), process(BASE, pid=8, team="speech")]
    insert(client, "process_usage_raw", late)
    roll_up(client)
    said = figures(client)
    keep(client, "hourly", 2)
    assert figures(client) == same_as(said)
    assert held_by_day(client, BASE) == {"search": pytest.approx(20 / 3600), "speech": WINDOW_H}


def test_day_when_an_owner_vanishes_from_its_hours_then_its_row_goes(client: Client) -> None:
    for team in ("search", "speech"):
        insert(client, "process_usage_raw", [process(BASE, team=team)])
        roll_up(client)
    keep(client, "hourly", 2)
    assert held_by_day(client, BASE) == {"speech": WINDOW_H}


def test_day_when_late_rows_come_after_its_hours_have_gone_then_it_stands(client: Client) -> None:
    insert(client, "process_usage_raw", [process(BASE)])
    roll_up(client)
    said = figures(client)
    keep(client, "hourly", 2)
    for table in ("rolled_hours", "touched_hours", "usage_hourly_versions"):
        client.command(f"TRUNCATE TABLE {table}")
    insert(client, "process_usage_raw", [process(BASE, team="speech")])
    assert Rollup(client, settle_s=0).run_once() == 0
    days = DayRollup(client, rest_s=0)
    assert days.run_once() == 0
    days.roll_up(f"{BASE:%Y-%m-%d}")
    days.sweep(keep_s=0)
    assert figures(client) == same_as(said)


def test_day_when_killed_before_any_statement_then_the_old_version_stands(client: Client) -> None:
    insert(client, "process_usage_raw", [process(BASE)])
    roll_up(client)
    said = figures(client)
    insert(client, "process_usage_raw", [process(BASE, team="speech")])
    Rollup(client, settle_s=0).run_once()
    for statement in range(len(VIEWS) + 1):
        with pytest.raises(Killed):
            KilledBefore(client, statement).run_once()
        for view in VIEWS:
            client.command(f"OPTIMIZE TABLE {table_of(view)} FINAL")
        assert held_by_day(client, BASE) == {"speech": WINDOW_H}
    keep(client, "hourly", 2)
    assert figures(client) == same_as(said)


def test_day_when_killed_and_tried_again_then_the_new_version_counts(client: Client) -> None:
    insert(client, "process_usage_raw", [process(BASE)])
    roll_up(client)
    insert(client, "process_usage_raw", [process(BASE, team="speech")])
    Rollup(client, settle_s=0).run_once()
    with pytest.raises(Killed):
        KilledBefore(client, len(VIEWS)).run_once()
    assert DayRollup(client, rest_s=0).run_once() == 1
    keep(client, "hourly", 2)
    assert held_by_day(client, BASE) == {"speech": WINDOW_H}


def test_day_when_the_same_version_was_inserted_twice_then_it_counts_once(client: Client) -> None:
    insert(client, "gpu_usage_raw", [gpu(BASE)])
    insert(client, "process_usage_raw", [process(BASE)])
    roll_up(client)
    said = figures(client)
    for view in VIEWS:
        table = table_of(view)
        client.command(f"INSERT INTO {table} SELECT * FROM {table}")
    keep(client, "hourly", 2)
    assert figures(client) == same_as(said)


def test_sweep_when_versions_of_a_day_are_superseded_then_only_those_go(client: Client) -> None:
    insert(client, "gpu_usage_raw", [gpu(BASE)])
    insert(client, "endpoint_traffic_raw", [served(BASE)])
    for held in (1_000, 2_000):
        insert(client, "process_usage_raw", [process(BASE, held_ms=held, sm_busy_ms=0)])
        roll_up(client)
    rollup = Rollup(client)
    counts = []
    for keep_s in (3600, 0):
        rollup.sweep(keep_s)
        counts.append([versions(client, table_of(view)) for view in VIEWS])
    assert counts == [[2] * len(VIEWS), [1] * len(VIEWS)]
    keep(client, "hourly", 2)
    assert held_by_day(client, BASE) == {"search": pytest.approx(2 / 3600)}


def versions(client: Client, table: str) -> int:
    return int(client.query(f"SELECT uniqExact(computed_at) FROM {table}").result_rows[0][0])


def test_tables_of_days_when_compared_then_their_columns_are_those_of_the_views(
    client: Client,
) -> None:
    def columns(table: str) -> list[str]:
        return [str(row[0]) for row in client.query(f"DESCRIBE {table}").result_rows]

    for view in VIEWS:
        day, *others = columns(view)
        assert columns(table_of(view)) == [day, "computed_at", *others]


def test_ledger_when_the_hours_of_a_pool_have_gone_then_present_hours_say_the_same(
    client: Client,
) -> None:
    """The pool had GPUs of its own once, so its requests still do not go by those of others."""
    insert(client, "gpu_usage_raw", [gpu(BASE, host_pool="experiment", gpu_model=GPU_MODELS[1])])
    insert(client, "gpu_usage_raw", [gpu(BASE + DAY)])
    asked = request(random.Random(1), 1) | {"pool": "experiment", "gpu_model": "l4"}
    insert(client, "capacity_requests", [asked])
    roll_up(client)
    said = figures(client)
    keep(client, "hourly", 2)
    client.command("ALTER TABLE capacity_hourly_versions DELETE WHERE host_pool = 'experiment'")
    assert figures(client) == same_as(said)


def test_views_by_hour_when_hours_have_gone_then_none_shows_any_of_them(client: Client) -> None:
    host = {"cluster": "east", "host": "host-0"}
    insert(client, "telemetry_gaps_raw", [host | {"ts": BASE, "gap_s": 60, "reason": "disk"}])
    insert(client, "hosts_raw", [host | {"seen_at": BASE}])
    insert(client, "gpus_raw", [host | {"gpu": "GPU-0", "share_milli": 1000, "seen_at": BASE}])
    insert(client, "gpu_usage_raw", [gpu(BASE)])
    insert(client, "process_usage_raw", [process(BASE, pool="experiment")])
    roll_up(client)
    views = (
        *("usage_hourly", "capacity_hourly", "workload_hourly", "usage_by_request"),
        *("ledger_hourly", "ledger_balance", "isolation_violations", "observed_hourly"),
    )
    shown = " UNION ALL ".join(f"SELECT '{view}', count() FROM {view}" for view in views)
    assert all(rows for _, rows in client.query(shown).result_rows)
    keep(client, "hourly", 2)
    assert not any(rows for _, rows in client.query(shown).result_rows)
