"""What servers tell and GPUs do, up to the verdict whether more GPUs would help."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.rollup import Rollup
from gpuledger_collector.serve import CollectorThread
from tests.nvml_standin.world import Standin
from tests.serving import lookalike as engine
from tests.serving.processes import lookalike
from tests.slo_books import objective, promise
from tests.test_agent_daemon import agent, wait_until
from tests.test_attribution_runtimes import alone

INSIDE_PCT = 100 - 100 / engine.STEP
"""All answers take one second, an edge of the buckets; one of STEP fails."""

KEPT = {"latency_ms": 1_000, "percentile": Decimal(80)}
BROKEN = {"latency_ms": 500, "percentile": Decimal(80)}

CASES = {"met": (70, KEPT), "headroom": (70, BROKEN), "full": (97, BROKEN)}
"""Endpoint -> SM use of its GPU in percent, what was promised of it."""

WHOLE = f"""
SELECT hour FROM
(
    SELECT toStartOfHour(ts) AS hour, endpoint, count() AS windows
    FROM endpoint_traffic WHERE requests > 0 GROUP BY hour, endpoint
)
GROUP BY hour HAVING countIf(windows >= 4) = {len(CASES)}
"""
"""Hours in which each endpoint served in four windows at least: the test may meet a full hour."""

FIGURES = """
SELECT
    endpoint, v.verdict, a.outcome, a.target_latency_ms,
    a.inside_pct_low, a.inside_pct, a.inside_pct_high, a.sm_pct, a.kv_cache_pct, a.load_pct,
    v.load_pct_peak, a.requests, a.errors
FROM slo_attainment AS a
INNER JOIN scaling_verdict AS v USING (team, model, endpoint)
WHERE a.hour = {hour:DateTime('UTC')} AND v.day = toDate({hour:DateTime('UTC')})
"""


@contextmanager
def served(standin: Standin) -> Iterator[None]:
    """A server on a GPU of its own for each endpoint, by nothing but its environment."""
    with ExitStack() as stack:
        for number, (endpoint, (sm_pct, _)) in enumerate(CASES.items()):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("GPULEDGER_TEAM", "search")
                patch.setenv("GPULEDGER_MODEL", "ranker")
                patch.setenv("GPULEDGER_ENDPOINT", endpoint)
                patch.setenv("GPULEDGER_METRICS", "/metrics")
                pid, _ = stack.enter_context(lookalike())
            standin.raw.gpu[number].flowing = 1
            standin.add(number, pid, sm=sm_pct)
        yield


def whole(client: Client) -> list[datetime]:
    return [hour for (hour,) in client.query(WHOLE, tz_mode="aware").result_rows]


@pytest.fixture
def told(
    standin: Standin, tmp_path: Path, collector: CollectorThread, client: Client
) -> dict[str, dict[str, Any]]:
    """Figures of each endpoint in an hour in which its servers ran."""
    standin.raw.gpus = len(CASES)
    with served(standin), agent(standin, tmp_path, collector.address, *alone("environment")) as run:
        wait_until(lambda: bool(whole(client)))
        run.send_signal(signal.SIGTERM)
        assert run.wait(20) == 0
    hour = whole(client)[0]
    in_force = {"valid_from": hour, "valid_until": hour + timedelta(hours=1)}
    promise(client, *(objective(endpoint=e, **in_force, **p) for e, (_, p) in CASES.items()))
    rollup = Rollup(client, settle_s=0)
    while rollup.run_once():
        pass
    found = client.query(FIGURES, parameters={"hour": hour}).named_results()
    return {row["endpoint"]: row for row in found}


def test_verdict_when_targets_are_met_at_70_pct_then_no_more_gpus_and_its_opposites(
    told: dict[str, dict[str, Any]],
) -> None:
    assert {endpoint: (row["outcome"], row["verdict"]) for endpoint, row in told.items()} == {
        "met": ("met", "enough"),
        "headroom": ("missed", "tune"),
        "full": ("missed", "grow"),
    }
    for endpoint, row in told.items():
        sm_pct, promised = CASES[endpoint]
        inside = INSIDE_PCT if promised is KEPT else 0
        bounds = [row[f"inside_pct{bound}"] for bound in ("_low", "", "_high")]
        assert bounds == pytest.approx([inside] * 3)
        assert row["target_latency_ms"] == promised["latency_ms"]
        assert row["sm_pct"] == pytest.approx(sm_pct, abs=10), "its own GPU's, not another's"
        assert row["load_pct"] == row["load_pct_peak"] == row["sm_pct"] > row["kv_cache_pct"]
        assert row["errors"] * engine.STEP == row["requests"] > 0
