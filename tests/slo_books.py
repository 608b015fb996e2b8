"""Objectives, and what the view of their attainment says."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger.slos import BOOK, Slo
from gpuledger_collector.rollup import Rollup
from tests.ledger_fleet import BASE, Row, insert


def objective(**given: Any) -> Slo:
    """95 % inside a second, in 99 % of the hours; in force for long."""
    fields: dict[str, Any] = {
        "team": "search",
        "model": "",
        "endpoint": "chat",
        "valid_from": BASE - timedelta(days=30),
        "valid_until": None,
        "latency_ms": 1_000,
        "percentile": Decimal(95),
        "throughput_rps": None,
        "attainment_pct": Decimal(99),
        "owner": "ann",
        "reason": "",
    }
    return Slo(**fields | given)


def promise(client: Client, *objectives: Slo) -> None:
    """Put objectives into the books."""
    BOOK.apply(client, objectives)


def attainment(client: Client, *rows: Row) -> list[dict[str, Any]]:
    """Add windows of servers, and read what follows: hours in their order, then endpoints."""
    insert(client, "endpoint_traffic_raw", rows)
    rollup = Rollup(client, settle_s=0)
    while rollup.run_once():
        pass
    asked = "SELECT * FROM slo_attainment ORDER BY hour, team, endpoint, model"
    return list(client.query(asked, tz_mode="aware").named_results())


def percentile(values: list[float], q: float) -> float:
    """The smallest value that at least this part of all does not exceed."""
    return sorted(values)[math.ceil(q * len(values)) - 1]


def assert_within(row: dict[str, Any], name: str, truth: float) -> None:
    """The truth and the best guess lie between the bounds; NULL above is no limit."""
    low, guess, high = row[f"{name}_low"], row[name], row[f"{name}_high"]
    assert low <= truth + 1e-9
    assert high is None or truth <= high + 1e-9
    assert (guess is None) == (high is None)
    assert guess is None or low <= guess <= high
