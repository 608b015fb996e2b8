"""Rules that weigh traffic and objectives against GPUs: each finds its case, no other speaks."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger import findings, rules
from gpuledger_collector.ledger.rules import Rule
from tests.ledger_fleet import Row, insert
from tests.rule_fleet import END, ask, fill, healthy, minutes, request, speech, work
from tests.slo_books import objective, promise
from tests.traffic_books import served

BOTH = (request("search"), request("speech"))
HOUR = timedelta(hours=1)
GOOD, BAD = [200.0] * 20, [200.0, 1_700.0]
"""Requests in milliseconds that meet a p95 of a second, and that miss it."""

SPEECH = {"host": "host-1", "team": "speech", "model": "encoder", "endpoint": "asr"}


def evaluate(client: Client, judged: Iterable[Rule] = ()) -> list[dict[str, Any]]:
    """All open findings as of END, after these rules, else all, were evaluated without failing."""
    outcomes = findings.evaluate(client, tuple(judged) or rules.built_in(), END)
    assert [o for o in outcomes if o.error] == []
    return list(client.query("SELECT * FROM open_findings").named_results())


def only(found: list[dict[str, Any]], rule: str) -> dict[str, Any]:
    """The one finding, which is of this rule."""
    assert [row["rule"] for row in found] == [rule]
    return found[0]


def traffic(client: Client, bad: Iterable[datetime] = (), **given: Any) -> None:
    """An endpoint that answers well, but in the hours that begin at `bad`; six windows an hour."""
    missed = set(bad)
    rows = [
        served(at, BAD if at.replace(minute=0) in missed else GOOD, window_s=60, **given)
        for at in minutes()[::10]
    ]
    insert(client, "endpoint_traffic_raw", rows)


def at_load(pct: float, times: Iterable[datetime] | None = None) -> list[Row]:
    """Both teams; the GPUs of search are busy for so much of the time."""
    busy = round(600 * pct)
    starts = minutes() if times is None else times
    searching = [row for n in range(2) for row in work(starts, n, sm_busy_ms=busy)]
    return [*searching, *(row for n in range(2) for row in speech(starts, n))]


def judging_by_a_day(tmp_path: Path) -> Rule:
    """The rule about objectives that are met, content with a day of telemetry."""
    path = tmp_path / "rules.toml"
    path.write_text("[slo_met_at_low_utilization]\nmin_judged_hours = 24")
    [rule] = [rule for rule in rules.load(path) if rule.name == "slo_met_at_low_utilization"]
    return rule


def test_rules_when_objectives_are_met_by_busy_gpus_then_nothing_is_found(client: Client) -> None:
    ask(client, *BOTH)
    promise(client, objective(), objective(team="speech", endpoint="asr"))
    traffic(client)
    traffic(client, **SPEECH)
    fill(client, healthy())
    assert evaluate(client) == []


@pytest.mark.parametrize(
    ("load_pct", "kv_cache_pct", "found"), [(30, 10, 1), (70, 70, 1), (71, 10, 0), (30, 71, 0)]
)
def test_met_when_the_busiest_hours_leave_room_then_no_more_gpus(
    client: Client, tmp_path: Path, load_pct: int, kv_cache_pct: int, found: int
) -> None:
    more = {"status": "proposed", "endpoint": "chat"}
    ask(
        client,
        *BOTH,
        request("search", gpus=8, id="more", **more),
        request("speech", id="other", **more),
    )
    promise(client, objective())
    traffic(client, kv_cache_pct_mean=kv_cache_pct)
    fill(client, at_load(load_pct))
    assert evaluate(client) == [], "a day is too short to judge by"
    told = evaluate(client, [judging_by_a_day(tmp_path)])
    assert len(told) == found
    if found:
        row = only(told, "slo_met_at_low_utilization")
        assert (row["subject"], row["team"], row["severity"]) == (
            "search ranker chat",
            "search",
            "info",
        )
        assert row["usd"] == pytest.approx(8 * 2 * 168)
        assert row["evidence"] == {
            "hours_judged": "25",
            "hours_met": "25",
            "hours_missed": "0",
            "target_attainment_pct": "99",
            "load_pct_p95": str(max(load_pct, kv_cache_pct)),
            "gpus": "2",
            "proposed_requests": "more",
        }


@pytest.mark.parametrize(
    ("load_pct", "rule"),
    [
        (30, "slo_missed_with_headroom"),
        (84.9, "slo_missed_with_headroom"),
        (85, "slo_missed_while_saturated"),
        (97, "slo_missed_while_saturated"),
    ],
)
def test_missed_when_gpus_have_room_or_not_then_tune_or_grow(
    client: Client, load_pct: float, rule: str
) -> None:
    ask(client, *BOTH, request("search", id="more", status="proposed", model="ranker"))
    promise(client, objective(), objective(team="speech", endpoint="asr"))
    bad = [END - 3 * HOUR, END - 5 * HOUR]
    traffic(client, bad)
    traffic(client, **SPEECH)
    inside = [at for at in minutes() if at.replace(minute=0) in bad]
    others = [at for at in minutes() if at not in inside]
    fill(client, [*at_load(load_pct, inside), *at_load(50, others)])
    row = only(evaluate(client), rule)
    assert (row["subject"], row["team"], row["severity"]) == (
        "search ranker chat",
        "search",
        "warning",
    )
    assert row["usd"] is None
    assert {n: row["evidence"][n] for n in ("hours_judged", "hours_missed", "missed_load_pct")} == {
        "hours_judged": "24",
        "hours_missed": "2",
        "missed_load_pct": str(load_pct),
    }
    assert row["evidence"]["proposed_requests"] == "more"


@pytest.mark.parametrize(
    ("bad_hours", "given"),
    [
        ((3,), {}),
        ((3, 5), {"attainment_pct": Decimal(90)}),
        ((25,), {}),
        ((3, 5), {"latency_ms": 1_800}),
        ((3, 5), {"valid_until": END - 10 * HOUR}),
    ],
    ids=[
        "once",
        "within what was promised",
        "too long ago",
        "cannot be told",
        "no longer promised",
    ],
)
def test_missed_when_it_is_not_proven_or_allowed_then_nothing_is_found(
    client: Client, bad_hours: tuple[int, ...], given: dict[str, Any]
) -> None:
    ask(client, *BOTH)
    promise(client, objective(**given))
    traffic(client, [END - HOUR * hours for hours in bad_hours])
    fill(client, at_load(30))
    assert evaluate(client) == []


def models(replicas: dict[str, int]) -> list[Row]:
    """Models with so many GPUs each, a tenth of the time busy; every third of their windows."""
    gpus = [model for model, count in replicas.items() for _ in range(count)]
    given = {"sm_busy_ms": 6_000}
    return [
        row
        for number, model in enumerate(gpus)
        for row in work(minutes()[::3], number, model=model, **given)
    ]


def ask_models(client: Client, requests: dict[str, int]) -> None:
    rows = [
        served(at, [200.0] * count, window_s=60, model=model, server=model)
        for model, count in requests.items()
        for at in minutes()[::30]
    ]
    insert(client, "endpoint_traffic_raw", rows)


TWELVE = {f"m{number:02}": 30 if number < 3 else 1 for number in range(12)}
"""Requests by model: three carry nine tenths."""


def test_model_count_when_three_of_twelve_carry_the_traffic_then_head_tail_and_money(
    client: Client,
) -> None:
    ask(client, request("search", gpus=12))
    ask_models(client, TWELVE)
    fill(client, models(dict.fromkeys(TWELVE, 1)))
    row = only(evaluate(client), "planning_by_model_count")
    assert (row["subject"], row["team"], row["pool"]) == ("production", "", "production")
    told = row["evidence"]
    assert (told["models"], told["tail_models"], told["head"]) == ("12", "9", "m00, m01, m02")
    assert told["tail"].startswith("m03, m04")
    assert (told["head_request_pct"], told["tail_gpu_pct"]) == ("90.9", "75")
    # A third of the minutes is observed: nine GPUs show as three, and so does what they waste.
    assert told["tail_gpus"] == "3"
    assert row["usd"] == pytest.approx(3 * 0.9 * 2 * 168)


@pytest.mark.parametrize(
    ("requests", "replicas"),
    [
        (TWELVE, {model: 4 if count > 1 else 1 for model, count in TWELVE.items()}),
        (dict.fromkeys(TWELVE, 8), dict.fromkeys(TWELVE, 1)),
        ({"m00": 90, "m01": 3, "m02": 3}, {"m00": 1, "m01": 4, "m02": 4}),
        ({model: count // 30 for model, count in TWELVE.items()}, dict.fromkeys(TWELVE, 1)),
    ],
    ids=["GPUs follow traffic", "all are asked", "few models", "few requests"],
)
def test_model_count_when_it_is_not_the_pattern_then_nothing_is_found(
    client: Client, requests: dict[str, int], replicas: dict[str, int]
) -> None:
    ask(client, request("search", gpus=sum(replicas.values())))
    ask_models(client, requests)
    fill(client, models(replicas))
    assert evaluate(client) == []


def test_experiment_when_an_objective_is_missed_beside_it_then_whose_and_how_often(
    client: Client,
) -> None:
    tuning = {"team": "research", "model": "tune", "pool": "experiment", "workload": "tune"}
    ask(client, *BOTH, request("research", gpus=1, pool="experiment"))
    promise(client, objective(), objective(team="speech", endpoint="asr"))
    traffic(client, [END - HOUR])
    traffic(client, [END - 2 * HOUR], **SPEECH)
    fill(client, [*healthy(), *work(minutes(4), 7, **tuning)])
    row = only(evaluate(client), "experiment_on_production")
    assert row["evidence"]["slo_hurt"] == (
        "search ranker chat missed in 1 of 4 hours beside it, in 0 of 20 others"
    )
    assert row["evidence"]["gpu_hours"] == "4"


def test_experiment_when_no_objective_is_missed_then_it_hurt_nobody(client: Client) -> None:
    tuning = {"team": "research", "model": "tune", "pool": "experiment", "workload": "tune"}
    ask(client, *BOTH, request("research", gpus=1, pool="experiment"))
    promise(client, objective())
    traffic(client, [END - 9 * HOUR])
    fill(client, [*healthy(), *work(minutes(4), 7, **tuning)])
    assert "slo_hurt" not in only(evaluate(client), "experiment_on_production")["evidence"]
