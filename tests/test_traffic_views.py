"""What traffic says about GPUs: whether more would help, who carries it, what a request costs."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.rollup import Rollup
from gpuledger_collector.store.client import connect
from tests.clickhouse_fixture import Databases
from tests.day_books import roll_up
from tests.ledger_fleet import BASE, Row, insert, keep, process
from tests.slo_books import objective, promise
from tests.traffic_books import served

HOUR = timedelta(hours=1)
GOOD, BAD = [200.0] * 20, [200.0, 1_700.0]
"""Requests in milliseconds that meet a p95 of a second, and that miss it."""


def rows(client: Client, query: str) -> list[dict[str, Any]]:
    return list(client.query(query).named_results())


def hours(
    outcomes: list[list[float]], sm_ms: list[int], **given: Any
) -> tuple[list[Row], list[Row]]:
    """An endpoint in the hours after BASE: its requests, and the busy time of its GPU."""
    starts = [BASE + HOUR * number for number in range(len(outcomes))]
    traffic = [
        served(at, values, kv_cache_pct_mean=10, **given)
        for at, values in zip(starts, outcomes, strict=True)
    ]
    return traffic, [
        process(at, sm_busy_ms=ms, **given) for at, ms in zip(starts, sm_ms, strict=True)
    ]


def post(client: Client, traffic: list[Row], work: list[Row]) -> None:
    insert(client, "endpoint_traffic_raw", traffic)
    insert(client, "process_usage_raw", work)
    roll_up(client)


PROVEN: dict[str, tuple[list[list[float]], list[int], str]] = {
    # Met at 70 % utilization: the answer is not more GPUs.
    "met": ([GOOD] * 4, [7_000] * 4, "enough"),
    "met while full": ([GOOD] * 4, [9_900] * 4, "enough"),
    "missed with room": ([BAD] * 4, [3_000] * 4, "tune"),
    "missed while full": ([BAD] * 4, [9_500] * 4, "grow"),
    # What counts is how full it was when it missed.
    "missed when full": ([GOOD, GOOD, GOOD, BAD], [1_000, 1_000, 1_000, 9_500], "grow"),
    "full when met": ([GOOD, GOOD, GOOD, BAD], [9_500, 9_500, 9_500, 1_000], "tune"),
}
"""Endpoint -> its hours, the busy time of its GPU in these, and the verdict."""

UNTIMED: Row = {"offered": 3, "latency_buckets": [], "latency_counts": []}
UNPROVEN: dict[str, tuple[bool, list[float], Row, str]] = {
    "not timed": (True, GOOD, UNTIMED, "unclear"),
    "load not known": (True, BAD, {"offered": 3}, "unclear"),
    "nothing promised": (False, BAD, {}, "no_objective"),
    "nothing asked": (True, [], {}, "no_objective"),
}
"""Endpoint -> whether it has an objective, its requests, what else is told, and the verdict."""


@pytest.fixture(scope="module")
def verdicts(databases: Databases) -> dict[str, dict[str, Any]]:
    """Rows of `scaling_verdict` by endpoint."""
    promised = [*PROVEN, *(name for name, (has_objective, *_) in UNPROVEN.items() if has_objective)]
    posted = [hours(*case[:2], endpoint=name, host=name) for name, case in PROVEN.items()]
    posted += [
        ([served(BASE, values, endpoint=name, **told)], [])
        for name, (_, values, told, _) in UNPROVEN.items()
    ]
    with databases.one() as config, connect(config) as client:
        promise(client, *(objective(endpoint=name) for name in promised))
        post(client, [row for part, _ in posted for row in part], [r for _, p in posted for r in p])
        told = rows(client, "SELECT * FROM scaling_verdict")
    assert len(told) == len(PROVEN) + len(UNPROVEN)
    return {row["endpoint"]: row for row in told}


@pytest.mark.parametrize("endpoint", PROVEN)
def test_verdict_when_attainment_meets_utilization_then_enough_tune_or_grow(
    verdicts: dict[str, dict[str, Any]], endpoint: str
) -> None:
    outcomes, sm_ms, verdict = PROVEN[endpoint]
    row = verdicts[endpoint]
    assert row["verdict"] == verdict
    assert (row["hours_judged"], row["hours_missed"]) == (4, outcomes.count(BAD))
    assert row["attainment_pct_low"] == row["attainment_pct_high"] == 25 * outcomes.count(GOOD)
    assert row["load_pct_peak"] == max(sm_ms) / 100
    assert row["target_attainment_pct"] == 99


@pytest.mark.parametrize("endpoint", UNPROVEN)
def test_verdict_when_nothing_proves_it_then_nobody_is_accused(
    verdicts: dict[str, dict[str, Any]], endpoint: str
) -> None:
    assert verdicts[endpoint]["verdict"] == UNPROVEN[endpoint][-1]


def test_verdict_when_the_cache_is_full_and_the_sms_are_not_then_grow(client: Client) -> None:
    promise(client, objective())
    post(client, [served(BASE, BAD, kv_cache_pct_mean=97)], [process(BASE, sm_busy_ms=3_000)])
    [row] = rows(client, "SELECT verdict, missed_load_pct FROM scaling_verdict")
    assert row == {"verdict": "grow", "missed_load_pct": 97}


def test_verdict_when_some_hours_miss_within_what_was_promised_then_enough(client: Client) -> None:
    promise(client, objective(attainment_pct=Decimal(75)))
    post(client, *hours([GOOD, GOOD, GOOD, BAD], [5_000] * 4))
    assert rows(client, "SELECT verdict FROM scaling_verdict") == [{"verdict": "enough"}]


def test_verdict_when_hours_have_gone_then_the_day_says_what_it_said(client: Client) -> None:
    promise(client, objective())
    post(client, *hours([GOOD, BAD], [1_000, 2_000]))
    said = rows(client, "SELECT * FROM scaling_verdict")
    profile = rows(client, "SELECT * FROM load_profile")
    keep(client, "hourly", 2)
    assert rows(client, "SELECT count() AS n FROM slo_attainment") == [{"n": 0}]
    assert rows(client, "SELECT * FROM scaling_verdict") == said
    assert [row["verdict"] for row in said] == ["tune"]
    assert rows(client, "SELECT * FROM load_profile") == profile


def test_verdict_when_windows_come_again_or_late_then_it_is_of_each_once(client: Client) -> None:
    promise(client, objective())
    traffic, work = hours([GOOD, BAD], [5_000] * 2)
    post(client, traffic, work)
    said = rows(client, "SELECT * FROM scaling_verdict")
    post(client, traffic, work)
    client.command("OPTIMIZE TABLE endpoint_traffic_raw FINAL")
    Rollup(client, settle_s=0).run_once()
    assert rows(client, "SELECT * FROM scaling_verdict") == said
    late = served(BASE + HOUR + timedelta(seconds=10), [200.0] * 20)
    post(client, [late], [])
    assert rows(client, "SELECT verdict, requests FROM scaling_verdict") == [
        {"verdict": "enough", "requests": 42}
    ]


def test_concentration_when_few_models_carry_the_traffic_then_the_curve_beside_their_gpus(
    client: Client,
) -> None:
    asked = {"big": 90, "mid": 9, "small": 1, "dead": 0}
    traffic = [served(BASE, [200.0] * n, model=m, server=m) for m, n in asked.items()]
    work = [process(BASE, model=model, gpu=model) for model in asked]
    elsewhere = process(BASE, model="training", gpu="GPU-9")
    post(client, traffic, [*work, elsewhere])
    told = rows(client, "SELECT * FROM traffic_concentration ORDER BY rank")
    assert [
        (row["model"], row["rank"], row["request_share_pct"], row["cumulative_request_share_pct"])
        for row in told
    ] == [("big", 1, 90, 90), ("mid", 2, 9, 99), ("small", 3, 1, 100), ("dead", 4, 0, 100)]
    assert [row["gpu_share_pct"] for row in told] == [25] * 4
    assert [row["cumulative_gpu_share_pct"] for row in told] == [25, 50, 75, 100]
    assert {row["models"] for row in told} == {4}
    assert told[0]["tokens"] == 90 * 150
    assert told[0]["busy_gpu_hours"] == pytest.approx(5 / 3600)


def test_concentration_when_nothing_was_asked_then_no_share_and_no_failure(client: Client) -> None:
    post(client, [served(BASE, [])], [])
    [row] = rows(client, "SELECT * FROM traffic_concentration")
    assert (row["request_share_pct"], row["gpu_share_pct"], row["requests"]) == (0, None, 0)


def test_profile_when_traffic_stands_beside_use_then_what_a_token_and_a_request_take_and_cost(
    client: Client,
) -> None:
    insert(
        client, "gpu_prices", [{"usd_per_gpu_hour": 3.6, "priced_from": BASE, "applied_at": BASE}]
    )
    traffic = [
        served(BASE, [200.0] * 8, errors=3, running_ms=25_000, running_max=4, server="a"),
        served(BASE, [200.0] * 2, running_ms=5_000, running_max=2, server="b", waiting_ms=10_000),
    ]
    work = [process(BASE, gpu="GPU-0"), process(BASE, gpu="GPU-1", mem_mib_mean=8_192)]
    post(client, traffic, work)
    [row] = rows(client, "SELECT * FROM load_profile")
    assert (row["requests"], row["errors"], row["generated_tokens"]) == (10, 3, 500)
    assert row["allocated_gpu_hours"] == pytest.approx(20 / 3600)
    assert row["allocated_usd"] == pytest.approx(0.02)
    assert row["tokens_per_gpu_second"] == pytest.approx(1_500 / 20)
    assert row["generated_tokens_per_gpu_second"] == pytest.approx(500 / 20)
    assert row["requests_per_busy_gpu_hour"] == pytest.approx(10 / (10 / 3600))
    assert (row["running_mean"], row["running_max"], row["waiting_mean"]) == (1.5, 4, 0.5)
    assert (row["kv_cache_pct_mean"], row["mem_mib_mean"], row["mem_mib_max"]) == (20, 6_144, 8_192)
    assert row["usd_per_million_tokens"] == pytest.approx(0.02 / 1_500 * 1e6)
    assert row["usd_per_thousand_requests"] == pytest.approx(0.02 / 7 * 1e3)


def test_profile_when_little_is_offered_and_no_gpu_is_known_then_null_not_zero(
    client: Client,
) -> None:
    post(client, [served(BASE, GOOD, team="", offered=1)], [])
    [row] = rows(client, "SELECT * FROM load_profile")
    assert (row["team"], row["requests"], row["allocated_gpu_hours"]) == ("unattributed", 20, 0)
    unknown = {name for name, value in row.items() if value is None}
    assert unknown == {
        *("errors", "prompt_tokens", "generated_tokens", "allocated_usd", "tokens_per_gpu_second"),
        *("generated_tokens_per_gpu_second", "requests_per_busy_gpu_hour", "running_mean"),
        *("running_max", "waiting_mean", "kv_cache_pct_mean", "mem_mib_mean", "mem_mib_max"),
        *("usd_per_million_tokens", "usd_per_thousand_requests"),
    }
