"""Latencies of a production system: cut into histograms, their percentiles lie within the bounds.

Every hour of the day is compared with the percentiles of the file itself, as are the shares
inside a target. Pods are dealt to two servers whose buckets differ.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from tests.ledger_fleet import BASE
from tests.slo_books import assert_within, attainment, objective, percentile, promise
from tests.traffic_books import TRITON_S, VLLM_S, microseconds, served

FILE = (
    Path(__file__).resolve().parents[2] / "shared/data/gentd26/pipeline_inference_data_anon.csv.gz"
)
BEGIN = BASE.replace(hour=0)
TARGET_MS = 18_000
SERVERS = {"vllm": microseconds(VLLM_S), "triton": microseconds((*TRITON_S, 20, 40, 80, 160))}

pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason=f"{FILE} is absent: public research data not ours to redistribute"
)


def latencies() -> dict[datetime, dict[str, list[float]]]:
    """Milliseconds by window of a minute and server, moved to a recent day."""
    with gzip.open(FILE, "rt") as file:
        rows = [(float(r["timestamp_anon"]), r) for r in csv.DictReader(file)]
    first = min(at for at, _ in rows)
    found: dict[datetime, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for at, row in rows:
        window = BEGIN + timedelta(minutes=(at - first) // 60)
        server = "vllm" if row["container_ip"] < "8" else "triton"
        found[window][server].append(float(row["value"]))
    return found


def test_percentiles_when_a_real_day_is_cut_into_buckets_then_each_lies_within_its_bounds(
    client: Client,
) -> None:
    promise(client, objective(latency_ms=TARGET_MS))
    windows = latencies()
    told = attainment(client, *(
        served(at, values, window_s=60, observed_ms=60_000, server=name, edges_us=SERVERS[name])
        for at, servers in windows.items() for name, values in servers.items()
    ))  # fmt: skip
    by_hour: dict[datetime, list[float]] = defaultdict(list)
    for at, servers in windows.items():
        by_hour[at.replace(minute=0)] += [value for values in servers.values() for value in values]
    assert [row["hour"] for row in told] == sorted(by_hour)
    assert sum(row["requests"] for row in told) == 34_421
    for row in told:
        took = by_hour[row["hour"].astimezone(UTC)]
        for q, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99")):
            assert_within(row, f"latency_ms_{name}", percentile(took, q))
        assert_within(row, "inside_pct", 100 * sum(v <= TARGET_MS for v in took) / len(took))
        # The bound is one bucket of the coarser server, no more.
        assert row["latency_ms_p95_high"] <= 2 * row["latency_ms_p95_low"]
