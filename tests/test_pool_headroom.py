"""Room in a pool, and when it is full: against pools whose growth is known."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from tests.headroom_fleet import TODAY, fill_hours
from tests.ledger_fleet import GPU_MODELS
from tests.test_ledger_views import fill, process, request, windows

FORECAST = (
    "level_gpus, trend_gpus_per_day, trend_error_gpus_per_day, trend_days,"
    " days_to_full, days_to_full_earliest, days_to_full_latest"
)


def days_ago(hour: datetime) -> float:
    """Whole days before today."""
    return (TODAY.date() - hour.date()).days


def forecast(client: Client) -> dict[str, Any]:
    """The one forecast of all rows."""
    rows = client.query(f"SELECT DISTINCT {FORECAST} FROM pool_headroom")
    [row] = rows.result_rows
    return dict(zip(rows.column_names, row, strict=True))


def test_headroom_when_an_hour_is_known_then_every_side_of_it_is_told(client: Client) -> None:
    request(client, "a", 3)
    rows = [
        process(ts, gpu=f"GPU-{n}", sm_busy_ms=n * 1_000) for n in range(2) for ts in windows(12)
    ]
    fill(client, rows)
    told = client.query(
        "SELECT pool, gpu_model, capacity_gpus, requested_gpus, allocated_gpus, used_gpus,"
        " headroom_gpus, trend_gpus_per_day, trend_days, days_to_full FROM pool_headroom"
    ).result_rows
    assert told == [("production", GPU_MODELS[0], 2, 3, 2, 1, -1, None, 0, None)]


def test_headroom_when_a_request_fits_two_models_then_it_is_divided_by_capacity(
    client: Client,
) -> None:
    fill_hours(client, lambda _: 0, capacity=30, days=1)
    fill_hours(client, lambda _: 0, capacity=10, days=1, gpu_model=GPU_MODELS[1])
    start = TODAY - timedelta(days=9)
    given = {"applied_at": start, "requested_from": start}
    request(client, "any", 8, **given)
    request(client, "one", 1, gpu_model="l4", **given)
    request(client, "elsewhere", 5, gpu_model="A100", **given)
    told = client.query(
        "SELECT DISTINCT gpu_model, requested_gpus, headroom_gpus FROM pool_headroom"
        " ORDER BY gpu_model"
    ).result_rows
    assert told == [(GPU_MODELS[0], 6, 24), (GPU_MODELS[1], 3, 7)]


def test_headroom_when_growth_is_steady_then_the_day_is_exact(client: Client) -> None:
    fill_hours(client, lambda hour: 70 - 0.5 * days_ago(hour))
    told = forecast(client)
    assert told["level_gpus"] == pytest.approx(70)
    assert told["trend_gpus_per_day"] == pytest.approx(0.5)
    assert told["trend_error_gpus_per_day"] == pytest.approx(0, abs=1e-6)
    assert told["trend_days"] == 28
    assert [told[f"days_to_full{end}"] for end in ("", "_earliest", "_latest")] == pytest.approx(
        [60, 60, 60], rel=1e-4
    )


@pytest.mark.parametrize("shift", range(7))
def test_headroom_when_days_and_weeks_swing_then_that_is_no_trend(
    client: Client, shift: int
) -> None:
    def swinging(hour: datetime) -> float:
        quiet = (hour.weekday() + shift) % 7 >= 5
        return (20 if quiet else 60) + 15 * math.sin(math.tau * hour.hour / 24)

    fill_hours(client, swinging)
    told = forecast(client)
    assert told["trend_gpus_per_day"] == pytest.approx(0, abs=1e-9)
    assert told["days_to_full"] is None
    assert told["days_to_full_earliest"] is None
    assert 73 < told["level_gpus"] < 75


def test_headroom_when_days_err_then_the_truth_mostly_lies_in_the_band(
    client: Client,
) -> None:
    rng = random.Random(5)
    pools = 40
    for number in range(pools):
        noise = {ago: rng.gauss(0, 4) for ago in range(29)}
        fill_hours(
            client,
            lambda hour, noise=noise: 50 - 0.5 * days_ago(hour) + noise[int(days_ago(hour))],
            pool=f"pool-{number}",
        )
    inside, error = client.query(
        "SELECT countIf(abs(trend_gpus_per_day - 0.5) <= 2 * trend_error_gpus_per_day),"
        " avg(trend_error_gpus_per_day) FROM pool_headroom WHERE hour = {today:DateTime('UTC')}",
        parameters={"today": TODAY},
    ).result_rows[0]
    assert 0.8 * pools <= inside < pools
    assert error == pytest.approx(4 / math.sqrt(1715), rel=0.1)


def test_headroom_when_the_pool_is_full_then_it_is_zero_days(client: Client) -> None:
    fill_hours(client, lambda _: 100)
    assert forecast(client)["days_to_full"] == 0


@pytest.mark.parametrize(("days", "known"), [(13, None), (14, 14)])
def test_headroom_when_there_are_less_than_two_weeks_then_nothing_is_foretold(
    client: Client, days: int, known: int | None
) -> None:
    fill_hours(client, lambda hour: 50 - days_ago(hour), days=days)
    told = forecast(client)
    assert (told["trend_gpus_per_day"] is None) == (known is None)
    assert told["trend_days"] == (known or 0)


def test_headroom_when_use_shrinks_then_full_is_not_in_sight(client: Client) -> None:
    fill_hours(client, lambda hour: 20 + days_ago(hour))
    told = forecast(client)
    assert told["trend_gpus_per_day"] == pytest.approx(-1)
    assert (told["days_to_full"], told["days_to_full_earliest"]) == (None, None)
