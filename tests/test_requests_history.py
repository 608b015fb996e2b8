"""What was requested last Tuesday stays answerable."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from gpuledger_collector.cli import cli
from gpuledger_collector.store.client import StoreConfig
from tests.ledger_fleet import insert

MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)


def applied(client: Client, at: datetime, gpus: float, name: str = "a", **given: Any) -> None:
    row = {
        "id": name,
        "applied_at": at,
        "team": "search",
        "gpus": gpus,
        "requested_from": MONDAY - timedelta(days=30),
        "status": "approved",
    }
    insert(client, "capacity_requests", [row | given])


def history(store: StoreConfig, *arguments: str) -> Result:
    options = ["--clickhouse-url", store.url, "--database", store.database]
    return CliRunner().invoke(cli, ["requests", "history", *arguments, *options])


def told(store: StoreConfig, *arguments: str) -> list[dict[str, Any]]:
    result = history(store, *arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    return list(json.loads(result.stdout))


def test_history_when_a_request_changed_then_both_days_have_their_own_answer(
    client: Client, database: StoreConfig
) -> None:
    applied(client, MONDAY, 64)
    applied(client, MONDAY + timedelta(days=2), 20)
    applied(client, MONDAY, 1, "proposed", status="proposed")
    for at, gpus in (
        ("2026-02-03", [64]),
        ("2026-03-04T11:59:59", [64]),
        ("2026-03-04T12:00", [20]),
        ("2026-01-01", []),
    ):
        rows = told(database, "--at", at)
        assert [(row["id"], float(row["gpus"])) for row in rows] == [("a", n) for n in gpus]
    assert told(database, "proposed", "--at", "2026-03-04") == []


def test_history_when_a_request_is_named_then_its_changes_stand_in_order(
    client: Client, database: StoreConfig
) -> None:
    applied(client, MONDAY, 64)
    applied(client, MONDAY + timedelta(days=2), 20, status="withdrawn")
    applied(client, MONDAY, 1, "other")
    rows = told(database, "a")
    assert {row["id"] for row in rows} == {"a"}
    first = [row["field"] for row in rows if row["applied_at"] == "2026-03-02 12:00:00"]
    assert first == ["team", "gpus", "from", "status"]
    assert [(row["field"], row["before"], row["after"]) for row in rows[len(first) :]] == [
        ("gpus", "64.000", "20.000"),
        ("status", "approved", "withdrawn"),
    ]


def test_history_when_the_request_is_unknown_then_exit_code_2_and_a_remedy(
    database: StoreConfig,
) -> None:
    result = history(database, "nowhere")
    assert result.exit_code == 2
    assert "no request 'nowhere' in the books: see gpuledger requests export" in result.stderr
