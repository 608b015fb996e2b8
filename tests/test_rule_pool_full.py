"""`pool_full`: pools that grow are told, with a band; flat and noisy ones are left alone."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger import findings, rules
from tests.headroom_fleet import TODAY, fill_hours
from tests.ledger_fleet import GPU_MODELS
from tests.test_ledger_views import request
from tests.test_pool_headroom import days_ago

ENDS = ("_earliest", "", "_latest")
NOW = TODAY + timedelta(hours=2)


def evaluate(client: Client, judged: Iterable[rules.Rule]) -> list[dict[str, Any]]:
    """All open findings, after these rules were evaluated without failing."""
    outcomes = findings.evaluate(client, judged, NOW)
    assert [outcome for outcome in outcomes if outcome.error] == []
    return list(client.query("SELECT * FROM open_findings").named_results())


def pool_full(client: Client, config: Path | None = None) -> list[dict[str, Any]]:
    """What this rule alone finds."""
    return evaluate(client, [rule for rule in rules.load(config) if rule.name == "pool_full"])


def growing(per_day: float, level: float) -> Callable[[datetime], float]:
    """Half a GPU of noise a day, of no trend: up one day, down the next."""
    return lambda hour: level - per_day * days_ago(hour) + 0.5 * (-1) ** days_ago(hour)


def test_pool_full_when_it_grows_then_when_it_is_full_and_how_sure_that_is(client: Client) -> None:
    fill_hours(client, growing(0.5, 90))
    [found] = evaluate(client, rules.built_in())
    assert (found["rule"], found["severity"]) == ("pool_full", "warning")
    assert found["subject"] == f"production {GPU_MODELS[0]}"
    assert (found["team"], found["pool"], found["usd"]) == ("", "production", None)
    told = {name: float(found["evidence"][f"days_to_full{name}"]) for name in ENDS}
    assert told["_earliest"] <= told[""] <= told["_latest"]
    assert told["_earliest"] >= 17
    assert 18 <= told[""] <= 21
    assert told["_latest"] <= 24
    full_on = TODAY + timedelta(days=told[""])
    assert found["evidence"]["full_on"] == f"{full_on:%Y-%m-%d}"
    assert found["evidence"]["capacity_gpus"] == "100"
    assert float(found["evidence"]["trend_gpus_per_week"]) == pytest.approx(3.5, abs=0.1)
    assert found["evidence"]["trend_days"] == "28"


@pytest.mark.parametrize(
    ("configured", "told"),
    [("", 0), ("max_days = 50", 1), ("max_days = 50\nmax_days_latest = 35", 0)],
)
def test_pool_full_when_that_is_40_days_away_then_the_thresholds_decide(
    client: Client, tmp_path: Path, configured: str, told: int
) -> None:
    config = tmp_path / "rules.toml"
    config.write_text(f"[pool_full]\n{configured}")
    fill_hours(client, growing(0.5, 80))
    assert len(pool_full(client, config)) == told


@pytest.mark.parametrize(("days", "told"), [(20, 0), (21, 1)])
def test_pool_full_when_less_than_three_weeks_are_known_then_nothing_is_said(
    client: Client, days: int, told: int
) -> None:
    fill_hours(client, growing(0.5, 90), days=days)
    assert len(pool_full(client)) == told


@pytest.mark.parametrize("level", [60, 97, 100])
def test_pool_full_when_it_is_flat_then_nothing_however_full(client: Client, level: int) -> None:
    request(client, "all", 100, applied_at=TODAY, requested_from=TODAY - timedelta(days=60))
    fill_hours(client, lambda _: level)
    assert pool_full(client) == []


def test_pool_full_when_it_is_full_and_more_is_asked_for_then_it_is_told(client: Client) -> None:
    fill_hours(client, lambda _: 100)
    request(client, "all", 120, applied_at=TODAY, requested_from=TODAY - timedelta(days=60))
    [found] = pool_full(client)
    assert found["evidence"]["days_to_full"] == "0"
    assert found["evidence"]["requested_gpus"] == "120"


def test_pool_full_when_it_shrinks_then_nothing(client: Client) -> None:
    fill_hours(client, growing(-0.5, 80))
    assert pool_full(client) == []


def test_pool_full_when_days_and_weeks_swing_then_nothing(client: Client) -> None:
    def swinging(hour: datetime) -> float:
        return (50 if hour.weekday() >= 5 else 80) + 15 * math.sin(math.tau * hour.hour / 24)

    fill_hours(client, swinging)
    assert pool_full(client) == []


def test_pool_full_when_pools_are_noisy_or_wander_then_none_of_forty_is_told(
    client: Client,
) -> None:
    rng = random.Random(3)
    for number in range(20):
        noise = [rng.gauss(0, 6) for _ in range(29)]
        walk = [0.0]
        walk += [walk[-1] + rng.gauss(0, 1.5) for walk in [walk] for _ in range(28)]
        for name, off in (("noisy", noise), ("wandering", walk)):
            fill_hours(
                client,
                lambda hour, off=off: min(80 + off[28 - int(days_ago(hour))], 100),
                pool=f"{name}-{number}",
            )
    assert pool_full(client) == []
