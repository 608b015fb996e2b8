"""What the views say of fleets whose truth is plain to see."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.rollup import Rollup
from tests.ledger_fleet import BASE, Row, gpu, grant, insert, process


def windows(count: int, start: datetime = BASE) -> list[datetime]:
    return [start + timedelta(seconds=10 * number) for number in range(count)]


def fill(client: Client, processes: list[Row], grants: list[Row] | None = None) -> None:
    """Put these rows and the GPUs under them into the books."""
    grants = grants or []
    seen = {(row["ts"], row["host"], row["gpu"]): row for row in [*processes, *grants]}
    names = ("cluster", "host", "host_pool", "gpu", "gpu_model")
    insert(
        client,
        "gpu_usage_raw",
        [gpu(row["ts"], **{name: row[name] for name in names}) for row in seen.values()],
    )
    insert(client, "process_usage_raw", processes)
    insert(client, "gpu_allocation_raw", grants)
    rollup = Rollup(client, settle_s=0)
    while rollup.run_once():
        pass


def request(client: Client, name: str, gpus: float, **given: Any) -> None:
    row = {
        "id": name,
        "applied_at": BASE - timedelta(days=30),
        "team": "search",
        "pool": "production",
        "gpus": gpus,
        "requested_from": BASE - timedelta(days=30),
        "status": "approved",
    }
    insert(client, "capacity_requests", [row | given])


def select(client: Client, columns: str, view: str) -> list[Any]:
    return list(client.query(f"SELECT {columns} FROM {view}", tz_mode="aware").result_rows)


def test_views_when_listed_then_all_have_comments_and_a_definer(client: Client) -> None:
    views = "database = currentDatabase() AND engine = 'View'"
    bare = f"SELECT name FROM system.tables WHERE {views} AND comment = ''"
    assert client.query(bare).result_rows == []
    open_ones = (
        f"SELECT name FROM system.tables WHERE {views}"
        " AND create_table_query NOT LIKE '%SQL SECURITY DEFINER%'"
    )
    assert client.query(open_ones).result_rows == []
    columns = (
        "SELECT table, name FROM system.columns WHERE database = currentDatabase() AND comment = ''"
        f" AND table IN (SELECT name FROM system.tables WHERE {views})"
    )
    assert client.query(columns).result_rows == []


def test_profile_when_memory_swings_inside_windows_then_both_ends_are_seen(client: Client) -> None:
    rows = [
        process(ts, mem_mib_mean=2_048 if number < 330 else 20_480, mem_mib_max=40_960)
        for number, ts in enumerate(windows(360))
    ]
    fill(client, rows)
    [(low, p50, p95, p99, high)] = select(
        client,
        "mem_mib_min, mem_mib_p50, mem_mib_p95, mem_mib_p99, mem_mib_max",
        "resource_profile",
    )
    assert (low, high) == (2_048, 40_960)
    assert (p50, p95, p99) == pytest.approx((2_048, 20_480, 20_480), abs=8)


def test_profile_when_gpus_come_and_go_then_used_gpus_count_those_at_work(client: Client) -> None:
    rows = []
    for number in range(4):
        for index, ts in enumerate(windows(360)):
            works = number < 2 or index >= 180
            rows.append(process(ts, gpu=f"GPU-{number}", sm_busy_ms=4_000 if works else 0))
    fill(client, rows)
    [told] = select(
        client,
        "used_gpus_p50, used_gpus_p95, used_gpus_max, allocated_gpus_p50, sm_pct_min, sm_pct_p95",
        "resource_profile",
    )
    assert told[0] in {2.0, 4.0}
    assert told[1:] == (4.0, 4.0, 4.0, 0, 40.0)


def test_profile_when_nothing_could_be_measured_then_it_is_null_and_counts_as_used(
    client: Client,
) -> None:
    rows = [
        process(ts, sm_source="unknown", sm_busy_ms=0, mem_source="unknown") for ts in windows(6)
    ]
    fill(client, rows)
    assert select(
        client,
        "mem_mib_min, mem_mib_p99, sm_pct_min, sm_pct_max, used_gpus_max, unmeasured_gpu_hours",
        "resource_profile",
    ) == [(None, None, None, None, 1.0, pytest.approx(1 / 60))]


def test_profile_when_a_process_restarts_inside_a_window_then_memory_is_not_doubled(
    client: Client,
) -> None:
    half = {"present_ms": 5_000, "held_ms": 5_000, "sm_busy_ms": 0, "mem_mib_mean": 40_960}
    fill(client, [process(BASE, pid=1, **half), process(BASE, pid=2, **half)])
    assert select(client, "mem_mib_min, mem_mib_max", "resource_profile") == [(40_960, 40_960)]


def test_review_when_64_are_requested_and_20_used_then_44_can_be_had_back(client: Client) -> None:
    rows = [process(ts, gpu=f"GPU-{n}") for n in range(20) for ts in windows(12)]
    grants = [grant(ts, gpu=f"GPU-{n}") for n in range(20, 30) for ts in windows(12)]
    request(client, "a", 64, expected_sm_pct=80)
    fill(client, rows, grants)
    assert select(
        client,
        "requested_gpus, allocated_gpus_p95, used_gpus_p95, expected_sm_pct, measured_sm_pct,"
        " reclaimable_gpus, verdict",
        "request_review",
    ) == [(64, 30, 20, 80, 50, 44, "oversized")]


def test_review_when_memory_is_requested_then_the_measured_p99_stands_beside_it(
    client: Client,
) -> None:
    request(client, "a", 2, gpu_memory_gib=64)
    request(client, "silent", 1, model="encoder")
    rows = [
        process(ts, gpu=f"GPU-{number}", mem_mib_mean=(20 if number else 40) * 1024)
        for number in range(10)
        for ts in windows(12)
    ]
    rows += [process(ts, gpu="GPU-x", model="encoder", mem_source="unknown") for ts in windows(12)]
    fill(client, rows)
    assert select(
        client, "id, gpu_memory_gib, measured_memory_gib_p99", "request_review ORDER BY id"
    ) == [("a", 64, pytest.approx(40, abs=0.01)), ("silent", None, None)]


def test_review_when_requests_are_equal_then_they_share_by_their_gpus(client: Client) -> None:
    request(client, "big", 3)
    request(client, "small", 1)
    fill(client, [process(ts, gpu=f"GPU-{n}") for n in range(2) for ts in windows(12)])
    assert sorted(
        select(client, "id, used_gpus_p95, reclaimable_gpus, verdict", "request_review")
    ) == [("big", 1.5, 1, "oversized"), ("small", 0.5, 0, "fits")]


def test_review_when_verdicts_differ_then_each_has_its_name(client: Client) -> None:
    request(client, "unused", 2, model="nothing-runs-this")
    request(client, "fits", 2, model="ranker")
    request(client, "undersized", 1, model="encoder")
    request(client, "later", 1, requested_from=BASE + timedelta(days=30))
    request(client, "proposed", 1, status="proposed")
    rows = [process(ts, gpu=f"GPU-{n}") for n in range(2) for ts in windows(12)]
    rows += [process(ts, gpu=f"GPU-{n}", model="encoder") for n in (2, 3) for ts in windows(12)]
    fill(client, rows)
    assert dict(select(client, "id, verdict", "request_review")) == {
        "unused": "unused",
        "fits": "fits",
        "undersized": "undersized",
        "later": "not_in_force",
        "proposed": "not_in_force",
    }


def test_review_when_telemetry_is_out_then_its_minutes_do_not_count_as_unused(
    client: Client,
) -> None:
    request(client, "a", 1)
    fill(client, [process(ts) for ts in windows(12) + windows(12, BASE + timedelta(hours=2))])
    assert select(client, "used_gpus_p50, observed_hours, verdict", "request_review") == [
        (1.0, pytest.approx(4 / 60), "fits")
    ]


def test_idle_when_a_workload_stopped_working_then_since_when_and_what_it_cost(
    client: Client,
) -> None:
    names = ("gpu_model", "priced_from", "usd_per_gpu_hour")
    price = dict(zip(names, ("h100", BASE - timedelta(days=9), 3), strict=True))
    insert(client, "gpu_prices", [price])
    rows = [
        process(ts, sm_busy_ms=5_000 if number < 180 else 0)
        for number, ts in enumerate(windows(720))
    ]
    rows += [process(ts, gpu="GPU-1", workload="busy") for ts in windows(720)]
    rows += [process(ts, gpu="GPU-2", workload="gone", sm_busy_ms=0) for ts in windows(360)]
    grants = [grant(ts, gpu="GPU-3", workload="granted") for ts in windows(720)]
    fill(client, rows, grants)
    told = select(
        client,
        "workload, allocated_since, idle_since, idle_hours, idle_gpu_hours, idle_usd, ever_worked",
        "idle_allocations ORDER BY workload",
    )
    half_past = BASE + timedelta(minutes=30)
    assert told == [
        ("granted", BASE, BASE, 2.0, 2.0, 6.0, False),
        ("web", BASE, half_past, 1.5, 1.5, 4.5, True),
    ]


def test_unattributed_when_nobody_owns_work_then_process_and_user_are_named(
    client: Client,
) -> None:
    rows = [process(ts, gpu=f"GPU-{n}", team="", workload=f"py[{n}]") for n in (0, 1)
            for ts in windows(180)]  # fmt: skip
    fill(client, [*rows, process(BASE, gpu="GPU-2")])
    assert select(
        client,
        "host, process_name, user, gpus, workloads, allocated_gpu_hours, busy_gpu_hours",
        "unattributed_usage",
    ) == [("host-0", "serve", "ann", 2, 2, 1.0, 0.5)]
    teams = select(client, "DISTINCT team", "ledger_hourly ORDER BY team")
    assert teams == [("search",), ("unattributed",)]


def test_isolation_when_an_experiment_runs_on_production_then_what_it_shares_is_told(
    client: Client,
) -> None:
    guest = {"pool": "experiment", "team": "research", "workload": "tune", "pid": 8}
    half = {"held_ms": 5_000, "sm_busy_ms": 0}
    fill(
        client,
        [
            process(BASE, **half),
            process(BASE, **half, **guest),
            process(BASE, gpu="GPU-1", **guest),
            process(BASE, host="host-1", gpu="GPU-2", **guest),
            process(BASE, host="host-2", gpu="GPU-3"),
        ],
    )
    told = select(
        client,
        "host, gpu, shares, pools, teams, workloads",
        "isolation_violations ORDER BY host, gpu",
    )
    who = (["experiment"], ["research"], ["tune"])
    assert told == [
        ("host-0", "GPU-0", "gpu", *who),
        ("host-0", "GPU-1", "host", *who),
        ("host-1", "GPU-2", "nothing", *who),
    ]


def test_consolidation_when_nine_small_models_hold_a_gpu_each_then_they_fit_on_fewer(
    client: Client,
) -> None:
    rows = [
        process(ts, gpu=f"GPU-{n}", model=f"small-{n}", mem_mib_mean=10_000, sm_busy_ms=500)
        for n in range(9)
        for ts in windows(12)
    ]
    rows += [process(ts, gpu="GPU-9", model="large", mem_mib_mean=70_000) for ts in windows(12)]
    fill(client, rows)
    told = select(
        client,
        "model, gpus_now, fits_on, pool_gpus_now, pool_gpus_needed, saved_gpus",
        "consolidation_candidates ORDER BY model",
    )
    assert [row[0] for row in told] == [f"small-{n}" for n in range(9)]
    assert {row[3:] for row in told} == {(9.0, 2, 7.0)}
    assert sorted(row[2] for row in told) == [1] * 7 + [2] * 2
