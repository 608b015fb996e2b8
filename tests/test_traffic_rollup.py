"""Traffic by the hour and by the day: sums of what servers counted, whatever their buckets."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.day_books import roll_up
from tests.ledger_fleet import BASE, Row, empty, insert, keep
from tests.random_books import RANDOM_BOOKS
from tests.traffic_books import TRITON_S, VLLM_S, microseconds, served

SUMS = ("requests", "errors", "prompt_tokens", "generated_tokens", "running_ms", "latency_ms")
OWNER = ("team", "model", "endpoint", "pool")
EDGES = (microseconds(VLLM_S), microseconds(TRITON_S))


def random_traffic(rng: random.Random) -> list[Row]:
    """Windows of a few servers with buckets of their own, over two hours."""
    rows = []
    for number in range(rng.randint(1, 4)):
        place = {
            "host": f"host-{rng.randrange(2)}",
            "server": f"127.0.0.1:{8000 + number}",
            "team": rng.choice(("", "search")),
            "endpoint": rng.choice(("chat", "rank")),
            "edges_us": rng.choice(EDGES),
        }
        for window in rng.sample(range(720), rng.randint(1, 5)):
            took = [10 ** rng.uniform(0, 7) for _ in range(rng.randrange(5))]
            failed = {"errors": rng.randint(0, len(took))}
            rows.append(served(BASE + timedelta(seconds=10 * window), took, **place, **failed))
    return rows


def truth(rows: Iterable[Row], grain: str) -> dict[tuple[Any, ...], Counter[Any]]:
    """Sums and buckets by hour or day and owner, row by row."""
    told: dict[tuple[Any, ...], Counter[Any]] = {}
    for row in rows:
        at = row["ts"].replace(minute=0, second=0) if grain == "hour" else row["ts"].date()
        sums = told.setdefault((at, *(row[name] for name in OWNER)), Counter())
        sums.update({name: row[name] for name in SUMS if row[name]})
        sums.update(dict(zip(row["latency_buckets"], row["latency_counts"], strict=True)))
    return told


def books(client: Client, grain: str) -> dict[tuple[Any, ...], Counter[Any]]:
    """The same as the views say it."""
    view = {"hour": "traffic_hourly", "day": "traffic_daily"}[grain]
    told: dict[tuple[Any, ...], Counter[Any]] = {}
    for row in client.query(f"SELECT * FROM {view}", tz_mode="aware").named_results():
        edges = [(bucket["above_us"], bucket["upto_us"]) for bucket in row["latency_buckets"]]
        sums = Counter({name: row[name] for name in SUMS if row[name]})
        sums.update(dict(zip(edges, row["latency_counts"], strict=True)))
        key = (row[grain], *(row[name] for name in OWNER))
        assert key not in told
        told[key] = sums
    return told


@settings(RANDOM_BOOKS, max_examples=5)
@given(rng=st.randoms(use_true_random=False))
def test_traffic_when_sent_in_parts_and_again_then_hours_and_days_are_sums_of_each_window_once(
    client: Client, rng: random.Random
) -> None:
    empty(client)
    rows = random_traffic(rng)
    late = rng.sample(rows, rng.randint(0, len(rows)))
    insert(client, "endpoint_traffic_raw", [row for row in rows if row not in late])
    roll_up(client)
    insert(client, "endpoint_traffic_raw", late)
    insert(client, "endpoint_traffic_raw", rng.sample(rows, rng.randint(0, len(rows))))
    roll_up(client)
    assert books(client, "hour") == truth(rows, "hour")
    assert books(client, "day") == truth(rows, "day")
    for table in ("endpoint_traffic_raw", "traffic_hourly_versions"):
        client.command(f"OPTIMIZE TABLE {table} FINAL")
    assert books(client, "hour") == truth(rows, "hour")
    keep(client, "hourly", 2)
    assert books(client, "hour") == {}
    assert books(client, "day") == truth(rows, "day")


def test_traffic_when_two_servers_run_at_once_then_time_counts_once_and_requests_twice(
    client: Client,
) -> None:
    starts = [BASE + timedelta(seconds=10 * window) for window in (0, 1, 6)]
    rows = [served(at, [100, 200], server=server) for at in starts for server in ("a", "b")]
    rows.append(served(starts[0], [100], server="b", host="host-1"))
    insert(client, "endpoint_traffic_raw", rows)
    roll_up(client)
    [row] = client.query("SELECT * FROM traffic_hourly").named_results()
    assert row["servers"] == 3
    assert row["observed_ms_by_minute"] == [20_000, 10_000] + [0] * 58
    assert row["requests_by_minute"] == [9, 4] + [0] * 58
    [day] = client.query("SELECT observed_ms, servers_max FROM traffic_daily").result_rows
    assert day == (30_000, 3)


def test_traffic_when_some_servers_are_silent_on_a_gauge_then_its_mean_is_over_the_others(
    client: Client,
) -> None:
    gauges = {"running_ms": 40_000, "kv_cache_pct_mean": 60, "waiting_ms": 5_000}
    rows = [served(BASE, server="a", **gauges), served(BASE, server="b", offered=3, running_ms=0)]
    insert(client, "endpoint_traffic_raw", rows)
    roll_up(client)
    [row] = client.query("SELECT * FROM traffic_hourly").named_results()
    assert (row["running_ms"], row["running_known_ms"]) == (40_000, 10_000)
    assert (row["kv_cache_pct_ms"], row["kv_cache_known_ms"]) == (600_000, 10_000)
    assert (row["waiting_ms"], row["waiting_known_ms"]) == (5_000, 10_000)
