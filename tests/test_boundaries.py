"""Where one thing ends and another begins: half hours, pools, names of teams, changes of clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger.requests import BOOK
from gpuledger_collector.rollup import Rollup
from tests.headroom_fleet import MS
from tests.ledger_fleet import BASE, GPU_MODELS, fill_an_hour, gpu, insert, process
from tests.test_ledger_views import request, windows
from tests.test_rules_sql import evaluate

HALF = BASE + timedelta(minutes=30)
BERLIN = ZoneInfo("Europe/Berlin")


def requested(client: Client) -> list[Any]:
    """GPU-hours requested and unclaimed, by hour."""
    return list(
        client.query(
            "SELECT sum(requested_gpu_hours), sum(unclaimed_gpu_hours) FROM ledger_hourly"
            " GROUP BY hour ORDER BY hour"
        ).result_rows
    )


def test_request_when_its_time_zone_is_half_an_hour_off_then_half_an_hour_counts(
    client: Client, tmp_path: Path
) -> None:
    india = ZoneInfo("Asia/Kolkata")
    begin = (BASE + timedelta(minutes=30)).astimezone(india)
    path = tmp_path / "requests.yaml"
    path.write_text(
        "requests:\n  - {id: a, team: search, pool: production, gpus: 4,"
        f" from: '{begin.isoformat()}', until: '{(begin + timedelta(minutes=15)).isoformat()}'}}\n"
    )
    BOOK.apply(client, BOOK.load(path))
    fill_an_hour(client)
    assert requested(client) == [(1, 0)]


def test_requests_when_they_overlap_inside_an_hour_then_each_counts_for_its_own_minutes(
    client: Client,
) -> None:
    request(client, "first", 4, requested_until=HALF)
    request(client, "second", 4, requested_from=BASE + timedelta(minutes=15))
    fill_an_hour(client)
    assert requested(client) == [(4 * 0.5 + 4 * 0.75, 4)]


def test_usage_when_a_request_begins_in_the_middle_of_the_hour_then_the_hour_is_its_own(
    client: Client,
) -> None:
    request(client, "a", 4, requested_from=HALF)
    fill_an_hour(client)
    assert requested(client) == [(2, 1)]
    assert client.query("SELECT count() FROM unrequested_usage").result_rows == [(0,)]


def test_books_when_a_gpu_moves_to_another_pool_in_mid_hour_then_it_counts_once(
    client: Client,
) -> None:
    request(client, "before", 1)
    request(client, "after", 1, pool="experiment")
    for start, pool in ((BASE, "production"), (HALF, "experiment")):
        times = windows(180, start)
        insert(client, "gpu_usage_raw", [gpu(ts, host_pool=pool) for ts in times])
        insert(
            client, "process_usage_raw", [process(ts, host_pool=pool, pool=pool) for ts in times]
        )
    Rollup(client, settle_s=0).run_once()
    halves = client.query(
        "SELECT pool, capacity_gpu_hours, difference_gpu_hours FROM ledger_balance ORDER BY pool"
    ).result_rows
    assert halves == [("experiment", 0.5, 0), ("production", 0.5, 0)]
    assert requested(client) == [(1, 0)]
    assert client.query("SELECT count() FROM isolation_violations").result_rows == [(0,)]
    assert evaluate(client) == []


def test_books_when_a_team_and_its_request_are_renamed_in_mid_hour_then_nothing_is_wrong(
    client: Client,
) -> None:
    request(client, "a", 1)
    request(client, "a", 1, team="find", applied_at=HALF)
    for start, team in ((BASE, "search"), (HALF, "find")):
        insert(client, "gpu_usage_raw", [gpu(ts) for ts in windows(180, start)])
        insert(client, "process_usage_raw", [process(ts, team=team) for ts in windows(180, start)])
    Rollup(client, settle_s=0).run_once()
    told = client.query(
        "SELECT team, sum(requested_gpu_hours), sum(allocated_gpu_hours), sum(unclaimed_gpu_hours)"
        " FROM ledger_hourly GROUP BY team ORDER BY team"
    ).result_rows
    assert told == [("find", 0.5, 0.5, 0), ("search", 0.5, 0.5, 0)]
    assert evaluate(client) == []


def clock_changes() -> list[datetime]:
    """Midnights, UTC, of the last two days on which the clocks of Berlin changed."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today - timedelta(days=ago) for ago in range(1, 380)]
    offsets = [day.astimezone(BERLIN).utcoffset() for day in [today, *days]]
    return [day for day, new, old in zip(days, offsets, offsets[1:], strict=False) if new != old][
        :2
    ]


@pytest.mark.parametrize("day", clock_changes(), ids=lambda day: f"{day:%m}")
def test_day_when_clocks_change_then_it_has_24_hours_wherever_it_is_read(
    client: Client, day: datetime
) -> None:
    begin = day.astimezone(BERLIN).replace(hour=0)
    end = (begin + timedelta(days=1)).replace(tzinfo=BERLIN)
    long = timedelta(days=500)
    request(client, "ever", 1, requested_from=day - long, applied_at=day - long)
    local = {"requested_from": begin.astimezone(UTC), "requested_until": end.astimezone(UTC)}
    request(client, "local", 1, team="speech", applied_at=day - long, **local)
    hours = [day + timedelta(hours=n - 24) for n in range(72)]
    capacity = {
        "cluster": "east", "host_pool": "production", "gpu_model": GPU_MODELS[0], "gpus": 2,
        "observed_ms": 2 * MS, "unallocated_ms": 2 * MS,
        "observed_gpu_ms_by_minute": [120_000] * 60,
    }  # fmt: skip
    insert(
        client,
        "capacity_hourly_versions",
        [
            {"hour": at, "computed_at": at, "first_seen": at, "last_seen": at + timedelta(hours=1)}
            | capacity
            for at in hours
        ],
    )
    insert(
        client,
        "rolled_hours",
        [{"hour": at, "computed_at": at, "rolled_at": at} for at in hours],
    )
    query = "SELECT toString(day), team, requested_gpu_hours FROM waste_by_team ORDER BY day, team"
    told = [
        client.query(query, settings={"session_timezone": zone}).result_rows
        for zone in ("UTC", "Europe/Berlin", "Pacific/Auckland")
    ]
    assert [(of, hours) for of, team, hours in told[0] if team == "search"] == [
        (f"{day + timedelta(days=n):%Y-%m-%d}", 24) for n in (-1, 0, 1)
    ]
    of_local_day = (end.astimezone(UTC) - begin.astimezone(UTC)).total_seconds() / 3600
    assert of_local_day in {23, 25}
    assert sum(hours for _, team, hours in told[0] if team == "speech") == of_local_day
    assert told[1:] == [told[0]] * 2
