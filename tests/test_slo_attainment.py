"""Attainment: shares and percentiles lie within the bounds that are shown, and verdicts follow."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_collector.rollup import Rollup
from tests.ledger_fleet import BASE, empty, insert, process
from tests.random_books import RANDOM_BOOKS
from tests.slo_books import assert_within, attainment, objective, percentile, promise
from tests.traffic_books import TRITON_S, VLLM_S, microseconds, served

HOUR = timedelta(hours=1)
WINDOW = timedelta(seconds=10)
EDGES = (microseconds(VLLM_S), microseconds(TRITON_S), [1_000_000], [400_000, 1_300_000])
FAST, SLOW = [200.0] * 19, [1_200.0]
"""Requests in milliseconds: in buckets of vLLM, surely inside and surely outside a second."""


@settings(RANDOM_BOOKS, max_examples=15)
@given(rng=st.randoms(use_true_random=False))
def test_bounds_when_servers_cut_differently_then_the_truth_lies_within(
    client: Client, rng: random.Random
) -> None:
    empty(client)
    client.command("TRUNCATE TABLE slos")
    target = rng.choice([1, 100, 400, 700, 1_000, 1_300, 9_000, 3_600_000])
    promise(client, objective(latency_ms=target))
    rows, everything = [], []
    for number in range(rng.randint(1, 4)):
        took = [10 ** rng.uniform(0, 4.5) for _ in range(rng.randint(0, 12))]
        took += rng.choices([400.0, 1_000.0, 1_300.0], k=rng.randint(0, 3))
        everything += took
        window = {"server": f"s-{number}", "edges_us": rng.choice(EDGES)}
        rows.append(served(BASE + WINDOW * rng.randrange(360), took, **window))
    [row] = attainment(client, *rows)
    if not everything:
        assert (row["outcome"], row["inside_pct"], row["latency_ms_p95"]) == (
            "no_traffic",
            None,
            None,
        )
        return
    assert row["requests"] == len(everything)
    inside = 100 * sum(value <= target for value in everything) / len(everything)
    assert_within(row, "inside_pct", inside)
    for q, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99")):
        assert_within(row, f"latency_ms_{name}", percentile(everything, q))
    wrong = "missed" if inside >= 95 else "met"
    assert row["outcome"] in {"met", "missed", "unclear"} - {wrong}
    if row["inside_pct_low"] == row["inside_pct_high"]:
        assert row["outcome"] == ("met" if inside >= 95 else "missed")


def test_bounds_when_the_target_is_an_edge_then_the_share_is_exact(client: Client) -> None:
    promise(client, objective())
    [row] = attainment(client, served(BASE, FAST + SLOW))
    assert (row["inside_pct_low"], row["inside_pct"], row["inside_pct_high"]) == (95, 95, 95)
    assert (row["outcome"], row["target_latency_ms"], row["latency_ms_mean"]) == ("met", 1_000, 250)
    [row] = attainment(client, served(BASE + WINDOW, SLOW))
    assert row["inside_pct"] == pytest.approx(100 * 19 / 21)
    assert row["outcome"] == "missed"


def test_bounds_when_the_target_lies_in_a_bucket_then_evenly_and_unclear(client: Client) -> None:
    promise(client, objective(latency_ms=1_200, percentile=Decimal(50)))
    [row] = attainment(client, served(BASE, [1_100.0] * 4 + [900.0] * 2))
    shares = (row["inside_pct_low"], row["inside_pct"], row["inside_pct_high"])
    assert shares == pytest.approx((100 * 2 / 6, 100 * (2 + 4 * 0.4) / 6, 100))
    assert row["outcome"] == "unclear"


def test_percentiles_when_requests_lie_evenly_then_they_are_interpolated(client: Client) -> None:
    took = [1_000 + 500 * (number + 0.5) / 100 for number in range(100)]
    [row] = attainment(client, served(BASE, took))
    assert (row["latency_ms_p95_low"], row["latency_ms_p95_high"]) == (1_000, 1_500)
    assert row["latency_ms_p95"] == pytest.approx(1_475)
    assert row["latency_ms_p50"] == pytest.approx(1_250)
    assert (row["target_latency_ms"], row["outcome"]) == (None, "no_objective")


def test_percentiles_when_the_first_token_is_timed_then_it_has_bounds_of_its_own(
    client: Client,
) -> None:
    ttft = {"ttft_buckets": [(0, 1_000), (20_000, 40_000)], "ttft_counts": [1, 9]}
    [row] = attainment(client, served(BASE, FAST, **ttft))
    assert (row["ttft_ms_p95_low"], row["ttft_ms_p95_high"]) == (20, 40)
    assert row["ttft_ms_p95"] == pytest.approx(40)


@pytest.mark.parametrize(
    ("figures", "low", "high", "outcome"),
    [
        # The histogram holds successes only: the failed are outside.
        ({"requests": 25, "errors": 5}, 80, 80, "missed"),
        # It holds the failed too: of those inside, none to five are.
        ({"requests": 20, "errors": 5}, 75, 75, "missed"),
        ({"requests": 20, "errors": 1}, 95, 95, "met"),
        # Another server times nothing: its requests may be inside or not.
        ({"requests": 40, "errors": 0}, 50, 100, "unclear"),
        # Nobody says what failed.
        ({"requests": 20, "errors": 0, "offered": 1}, 100, 100, "met"),
    ],
)
def test_bounds_when_requests_failed_then_they_are_outside_however_fast(
    client: Client, figures: dict[str, int], low: float, high: float, outcome: str
) -> None:
    promise(client, objective())
    [row] = attainment(client, served(BASE, [200.0] * 20, **figures))
    assert (row["inside_pct_low"], row["inside_pct_high"]) == (low, high)
    assert low <= row["inside_pct"] <= high
    assert row["outcome"] == outcome
    assert row["errors"] == (None if "offered" in figures else figures["errors"])


def test_outcome_when_latency_is_not_offered_then_unclear(client: Client) -> None:
    promise(client, objective())
    [row] = attainment(client, served(BASE, requests=9))
    assert (row["outcome"], row["requests"], row["inside_pct_low"]) == ("unclear", 9, None)


@pytest.mark.parametrize(
    ("waiting", "outcome"),
    [
        ({"waiting_ms": 9_000}, "met"),
        ({"waiting_ms": 10_000}, "missed"),
        ({"waiting_ms": 0, "offered": 127 - 32}, "met"),
    ],
)
def test_outcome_when_less_is_served_than_promised_then_it_is_missed_only_if_requests_waited(
    client: Client, waiting: dict[str, int], outcome: str
) -> None:
    promise(client, objective(throughput_rps=Decimal(2)))
    [row] = attainment(client, served(BASE, [200.0] * 19, **waiting))
    assert (row["target_rps"], row["served_rps"]) == (2, 1.9)
    assert row["outcome"] == outcome
    mean = None if "offered" in waiting else waiting["waiting_ms"] / 10_000
    assert row["waiting"] == mean


def test_outcome_when_an_objective_is_for_any_model_then_its_models_serve_together(
    client: Client,
) -> None:
    promise(client, objective(throughput_rps=Decimal(3)))
    busy = {"waiting_ms": 10_000}
    rows = [served(BASE, [200.0] * 20, model=model, server=model, **busy) for model in "ab"]
    told = attainment(client, *rows)
    assert [(row["model"], row["served_rps"], row["outcome"]) for row in told] == [
        ("a", 4, "met"),
        ("b", 4, "met"),
    ]
    promise(client, objective(throughput_rps=Decimal(3), model="a"))
    told = attainment(client)
    assert [(row["served_rps"], row["outcome"]) for row in told] == [(2, "missed"), (2, "missed")]


def test_objective_when_several_could_hold_then_the_models_own_and_the_latest_that_has_begun(
    client: Client,
) -> None:
    promise(
        client,
        objective(latency_ms=1),
        objective(latency_ms=2, valid_from=BASE + HOUR),
        objective(latency_ms=3, model="ranker", valid_from=BASE + 2 * HOUR,
                  valid_until=BASE + 3 * HOUR),
        objective(latency_ms=4, valid_from=BASE + 4.5 * HOUR, valid_until=BASE + 6 * HOUR),
        objective(latency_ms=5, endpoint="rank"),
        objective(latency_ms=6, team="speech"),
        objective(latency_ms=7, model="other"),
    )  # fmt: skip
    told = attainment(client, *(served(BASE + n * HOUR, FAST) for n in range(7)))
    assert [row["target_latency_ms"] for row in told] == [1, 2, 3, 2, 2, 4, None]
    promise(client, objective(latency_ms=8))
    assert attainment(client)[0]["target_latency_ms"] == 8


def test_load_when_gpus_and_cache_are_measured_then_the_fuller_of_the_two(client: Client) -> None:
    known = [process(BASE + WINDOW * n, gpu=f"GPU-{n}", sm_busy_ms=7_000) for n in range(3)]
    unknown = process(BASE, gpu="GPU-9", sm_source="unknown", sm_busy_ms=0)
    other = process(BASE, endpoint="rank", gpu="GPU-8", sm_busy_ms=10_000)
    insert(client, "process_usage_raw", [*known, unknown, other])
    Rollup(client, settle_s=0).run_once()
    [row] = attainment(client, served(BASE, FAST, kv_cache_pct_mean=40))
    assert (row["sm_pct"], row["kv_cache_pct"], row["load_pct"]) == (70, 40, 70)
    assert row["gpus"] == pytest.approx(4 * 10 / 3600)
    [row] = attainment(client, served(BASE, FAST, kv_cache_pct_mean=90))
    assert row["load_pct"] == 90
    [row] = attainment(client, served(BASE, FAST, offered=3))
    assert (row["kv_cache_pct"], row["load_pct"]) == (None, 70)


def test_load_when_nothing_is_measured_then_nothing_is_said(client: Client) -> None:
    [row] = attainment(client, served(BASE, FAST, team="", offered=3))
    assert (row["team"], row["gpus"]) == ("unattributed", 0)
    assert (row["sm_pct"], row["load_pct"]) == (None, None)


def test_attainment_when_asked_from_an_hour_on_then_older_months_are_not_read(
    client: Client,
) -> None:
    later = BASE + timedelta(days=40)
    for at in (BASE, later):
        insert(client, "process_usage_raw", [process(at)])
        attainment(client, served(at, FAST))
    read = client.query(
        "EXPLAIN ESTIMATE SELECT * FROM slo_attainment WHERE hour >= {hour:DateTime('UTC')}",
        parameters={"hour": later},
    )
    parts = {row["table"]: row["parts"] for row in read.named_results()}
    assert parts["endpoint_hourly_versions"] == 1


def test_throughput_when_an_endpoint_stands_in_several_rows_then_minutes_are_laid_over_each_other(
    client: Client,
) -> None:
    promise(client, objective(model="ranker", throughput_rps=Decimal(1)))
    minute = timedelta(minutes=1)
    rows = [
        served(BASE + minute * late, FAST, use_case=case) for late, case in ((0, "a"), (1, "b"))
    ]
    [row] = attainment(client, *rows)
    assert row["served_rps"] == pytest.approx(2 * len(FAST) / 20)
    [row] = attainment(client, served(BASE, FAST, use_case="b", server="s-2"))
    assert row["served_rps"] == pytest.approx(3 * len(FAST) / 20)


def test_throughput_when_models_share_an_objective_then_minutes_are_laid_over_each_other(
    client: Client,
) -> None:
    promise(client, objective(throughput_rps=Decimal(1)))
    models = ((0, "ranker"), (1, "reader"))
    rows = [served(BASE + timedelta(minutes=late), FAST, model=model) for late, model in models]
    told = attainment(client, *rows)
    assert [row["served_rps"] for row in told] == [pytest.approx(2 * len(FAST) / 20)] * 2
