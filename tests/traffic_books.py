"""Windows of inference servers as raw rows, and histograms cut from true latencies."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from tests.ledger_fleet import Row
from tests.traffic_fixture import EVERYTHING, NO_LIMIT

Bucket = tuple[int, int]

VLLM_S = (
    0.3,
    0.5,
    0.8,
    1,
    1.5,
    2,
    2.5,
    5,
    10,
    15,
    20,
    30,
    40,
    50,
    60,
    120,
    240,
    480,
    960,
    1920,
    7680,
)
"""Buckets of vLLM's end-to-end latency: vllm/v1/metrics/loggers.py, request_latency_buckets."""

TRITON_S = (0.1, 0.25, 0.5, 1, 2, 5, 10)
"""Other buckets, as an operator of Triton may configure them."""


def microseconds(seconds: Iterable[float]) -> list[int]:
    """Edges as they travel."""
    return [round(edge * 1e6) for edge in seconds]


def histogram(
    values_us: Iterable[float], edges_us: Sequence[int]
) -> tuple[list[Bucket], list[int]]:
    """The buckets that are not empty, and what is in them."""
    bounds = [0, *edges_us, NO_LIMIT]
    found = Counter(bisect_left(edges_us, value) for value in values_us)
    numbers = sorted(found)
    return [(bounds[n], bounds[n + 1]) for n in numbers], [found[n] for n in numbers]


def served(at: datetime, values_ms: Sequence[float] = (), **given: Any) -> Row:
    """A window in which a server answered requests that took so long, one after the other."""
    edges = given.pop("edges_us", microseconds(VLLM_S))
    buckets, counts = histogram([1000 * value for value in values_ms], edges)
    row = {
        "ts": at,
        "window_s": 10,
        "cluster": "east",
        "host": "host-0",
        "host_pool": "production",
        "team": "search",
        "model": "ranker",
        "endpoint": "chat",
        "use_case": "",
        "pool": "production",
        "workload_kind": "container",
        "workload": "web",
        "server": "127.0.0.1:8000",
        "server_kind": "vllm",
        "served_model": "",
        "observed_ms": 10_000,
        "requests": len(values_ms),
        "errors": 0,
        "prompt_tokens": 100 * len(values_ms),
        "generated_tokens": 50 * len(values_ms),
        "running_ms": round(sum(values_ms)),
        "running_max": 1,
        "waiting_ms": 0,
        "waiting_max": 0,
        "kv_cache_pct_mean": 20,
        "kv_cache_pct_max": 30,
        "latency_ms": round(sum(values_ms)),
        "ttft_ms": 0,
        "latency_buckets": buckets,
        "latency_counts": counts,
        "offered": EVERYTHING,
    }
    return row | given
