"""`gpuledger doctor`: every fault is really made, found, and told with its remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any

import pytest
from click.testing import CliRunner
from clickhouse_connect.driver.client import Client

from gpuledger_agent.check_result import Check, Verdict
from gpuledger_collector.cli import cli
from gpuledger_collector.doctor import disk
from gpuledger_collector.doctor.disk import Disk
from gpuledger_collector.doctor.examine import clock
from gpuledger_collector.rollup import Rollup
from gpuledger_collector.store.client import StoreConfig, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate
from tests.clickhouse_fixture import Databases, database_of_its_own
from tests.ledger_fleet import GPU_MODELS, empty, gpu, insert, process

GIB = 1 << 30
FILLED = ("hosts_raw", "agent_health_raw", "telemetry_gaps_raw")


@pytest.fixture(scope="module")
def books(databases: Databases) -> Iterator[StoreConfig]:
    with databases.one() as config:
        yield config


@pytest.fixture
def at(books: StoreConfig) -> Iterator[Client]:
    """A connection to `books`, which are emptied of what a test put there."""
    with connect(books) as client:
        yield client
        empty_but_retention(client)


def empty_but_retention(client: Client) -> None:
    kept = client.query("SELECT * FROM retention")
    empty(client)
    client.insert("retention", kept.result_rows, column_names=kept.column_names)
    for table in FILLED:
        client.command(f"TRUNCATE TABLE {table}")


def doctor(store: StoreConfig, *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit code, and what was found by subject."""
    options = ["--clickhouse-url", store.url, "--database", store.database]
    result = CliRunner().invoke(cli, ["doctor", *options, "--format", "json", *arguments])
    assert result.exit_code in {0, 1}, result.output
    return result.exit_code, {row["subject"]: row for row in json.loads(result.stdout)}


def ago(**given: float) -> datetime:
    return datetime.now(UTC) - timedelta(**given)


def host(name: str, **given: Any) -> dict[str, Any]:
    row = {"cluster": "east", "host": name, "agent_version": metadata.version("gpuledger")}
    return row | {"seen_at": ago(days=1)} | given


def health(name: str, **given: Any) -> dict[str, Any]:
    return {"cluster": "east", "host": name, "ts": ago(seconds=30), "window_s": 10} | given


def test_doctor_when_the_books_are_new_then_nothing_fails(books: StoreConfig, at: Client) -> None:
    insert(at, "hosts_raw", [host("a")])
    insert(at, "agent_health_raw", [health("a")])
    code, found = doctor(books)
    assert code == 0
    assert {"ClickHouse", "clock", "schema", "retention", "disk", "roll-ups"} <= found.keys()
    fine = {"ClickHouse", "clock", "schema", "retention", "parts", "roll-ups", "agents", "spools"}
    assert {found[s]["verdict"] for s in fine | {"names"}} == {"ok"}
    assert all(bool(row["remedy"]) == (row["verdict"] != "ok") for row in found.values())


def test_doctor_when_clickhouse_is_not_there_then_it_fails_with_a_remedy() -> None:
    code, found = doctor(StoreConfig(url="http://127.0.0.1:1"))
    assert code == 1
    assert list(found) == ["ClickHouse"]
    assert found["ClickHouse"]["remedy"] == "is it ClickHouse's HTTP port, and is it up?"


def test_doctor_when_the_database_is_empty_then_it_sends_to_migrate(
    empty_database: StoreConfig,
) -> None:
    code, found = doctor(empty_database)
    assert code == 1
    assert found["schema"]["verdict"] == "fail"
    assert found["schema"]["remedy"] == "run gpuledger migrate"
    assert "agents" not in found


def test_doctor_when_a_ttl_was_dropped_then_it_names_the_table(
    clickhouse_server: EmbeddedServer,
) -> None:
    with database_of_its_own(clickhouse_server) as store, connect(store) as client:
        migrate(client)
        client.command("ALTER TABLE gpu_usage_raw REMOVE TTL")
        code, found = doctor(store)
    assert code == 1
    assert found["retention"]["verdict"] == "fail"
    assert "not yet of gpu_usage_raw" in found["retention"]["text"]


def test_doctor_when_hours_were_restored_without_names_then_migrate_finds_them_again(
    books: StoreConfig, at: Client
) -> None:
    insert(at, "gpu_usage_raw", [gpu(ago(hours=1))])
    insert(at, "process_usage_raw", [process(ago(hours=1))])
    Rollup(at, settle_s=0).run_once()
    ledger = "SELECT * EXCEPT hour FROM ledger_hourly ORDER BY ALL"
    said = at.query(ledger).result_rows
    assert doctor(books)[1]["names"]["verdict"] == "ok"
    for table in ("owners_seen", "fleet_seen"):
        at.command(f"TRUNCATE TABLE {table}")
    assert at.query(ledger).result_rows != said
    _, found = doctor(books)
    assert found["names"] == {
        "verdict": "fail",
        "subject": "names",
        "text": "owners_seen lacks 1 and fleet_seen lacks 1 that hours have:"
        " they were restored without it",
        "remedy": "run gpuledger migrate",
    }
    for _ in range(2):
        migrate(at)
        assert at.query(ledger).result_rows == said


@pytest.mark.parametrize(("minutes", "verdict"), [(5, "ok"), (30, "warn"), (180, "fail")])
def test_doctor_when_touched_hours_wait_then_by_how_long(
    books: StoreConfig, at: Client, minutes: int, verdict: str
) -> None:
    touched = {"hour": ago(hours=5).replace(minute=0, second=0, microsecond=0)}
    insert(at, "touched_hours", [touched | {"touched_at": ago(minutes=minutes)}])
    code, found = doctor(books)
    assert (code, found["roll-ups"]["verdict"]) == (int(verdict == "fail"), verdict)
    assert found["roll-ups"]["text"] == f"1 touched hours wait, the longest for {minutes} min"
    Rollup(at, settle_s=0).run_once()
    assert doctor(books)[1]["roll-ups"]["text"] == "no touched hour waits"


def test_doctor_when_some_agents_are_silent_then_a_warning_when_all_then_a_failure(
    books: StoreConfig, at: Client
) -> None:
    insert(at, "hosts_raw", [host("a"), host("b"), host("gone", seen_at=ago(days=8))])
    # In the hour that is read, but too early in it.
    early = min(ago(minutes=10).replace(minute=0, second=0), ago(minutes=11))
    insert(at, "agent_health_raw", [health("a"), health("b", ts=early)])
    code, found = doctor(books)
    assert (code, found["agents"]["verdict"]) == (0, "warn")
    assert found["agents"]["text"] == "1 of 2 hosts silent for 10 min: b"
    assert doctor(books, "--silent-minutes", "120")[1]["agents"]["verdict"] == "ok"
    at.command("TRUNCATE TABLE agent_health_raw")
    code, found = doctor(books)
    assert (code, found["agents"]["verdict"]) == (1, "fail")


def test_doctor_when_agents_lag_lose_or_are_old_then_each_is_a_warning(
    books: StoreConfig, at: Client
) -> None:
    insert(at, "hosts_raw", [host("a"), host("b", agent_version="0.0.1")])
    insert(at, "agent_health_raw", [health("a", spool_batches=70), health("b", spool_batches=1)])
    lost = {"cluster": "east", "host": "b", "ts": ago(hours=2), "gap_s": 60, "reason": "spool_full"}
    insert(at, "telemetry_gaps_raw", [lost])
    code, found = doctor(books)
    assert code == 0
    assert found["spools"]["text"] == "70 batches wait on 1 hosts: a"
    assert "0.0.1 on 1" in found["versions"]["text"]
    assert found["gaps"]["text"] == "1 hosts lost windows in the last day: spool_full"
    assert {found[s]["verdict"] for s in ("spools", "versions", "gaps")} == {"warn"}


def test_doctor_when_a_model_has_no_price_and_work_no_team_then_it_says_so(
    books: StoreConfig, at: Client
) -> None:
    then = ago(hours=2).replace(second=0, microsecond=0)
    insert(at, "gpu_usage_raw", [gpu(then), gpu(then, gpu="GPU-1", gpu_model=GPU_MODELS[1])])
    insert(at, "process_usage_raw", [process(then), process(then, gpu="GPU-1", team="")])
    Rollup(at, settle_s=0).run_once()
    price = {"gpu_model": "h100", "priced_from": ago(days=9), "usd_per_gpu_hour": 2}
    insert(at, "gpu_prices", [price])
    _, found = doctor(books)
    assert found["prices"]["text"] == f"none for {GPU_MODELS[1]}"
    assert found["owners"]["text"] == "50% of the GPU time of the last day has no team"
    assert found["requests"]["text"] == "0 in force; 0 objectives of endpoints"
    assert {found[s]["verdict"] for s in ("prices", "owners", "requests")} == {"warn"}
    insert(at, "gpu_prices", [price | {"gpu_model": "l4"}])
    assert doctor(books)[1]["prices"]["verdict"] == "ok"


@pytest.mark.parametrize(
    ("off_s", "verdict"),
    [(0, Verdict.OK), (20, Verdict.WARN), (-20, Verdict.WARN), (3600, Verdict.FAIL)],
)
def test_clock_when_it_is_off_then_the_verdict_follows(
    at: Client, off_s: float, verdict: Verdict
) -> None:
    assert clock(at, lambda: datetime.now(UTC).timestamp() + off_s).verdict is verdict


@pytest.mark.parametrize(
    ("change", "verdict", "full"),
    [
        ({}, Verdict.OK, ""),
        ({"day": 20 * GIB}, Verdict.WARN, "full in 5 days"),
        ({"day": 50 * GIB}, Verdict.FAIL, "full in 2 days"),
        ({"day": 20 * GIB, "days": 14}, Verdict.OK, ""),
        ({"kept_days": 0}, Verdict.WARN, "full in 100 days"),
        ({"free": 14 * GIB}, Verdict.WARN, ""),
        ({"free": 4 * GIB, "day": 0}, Verdict.FAIL, ""),
    ],
)
def test_disk_when_it_fills_then_the_verdict_and_the_days_left(
    change: dict[str, int], verdict: Verdict, full: str
) -> None:
    whole = Disk("default", free=100 * GIB, total=100 * GIB, day=GIB, days=4, kept_days=14)
    found: Check = disk.judged(replace(whole, **change))
    assert found.verdict is verdict
    assert full in found.text
    assert ("full in" in found.text) == bool(full)
