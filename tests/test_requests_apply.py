"""Applying requests and prices: once, at once, with history kept; and the commands around it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from gpuledger_collector.cli import cli
from gpuledger_collector.ledger.prices import BOOK as PRICES
from gpuledger_collector.ledger.prices import GpuPrice
from gpuledger_collector.ledger.requests import BOOK as REQUESTS
from gpuledger_collector.ledger.requests import CapacityRequest
from gpuledger_collector.store.client import StoreConfig

REQUEST = CapacityRequest(
    id="a",
    team="search",
    model="",
    endpoint="",
    use_case="",
    pool="production",
    gpu_model="H100",
    gpus=Decimal("7.125"),
    gpu_memory_gib=None,
    expected_sm_pct=Decimal(60),
    requested_from=datetime(2026, 1, 1, tzinfo=UTC),
    requested_until=None,
    status="approved",
    owner="ann",
    reason="launch",
)

FILE = "requests:\n  - {id: a, team: search, gpus: 8, from: 2026-01-01}\n"


def run(store: StoreConfig, *arguments: str) -> Result:
    options = ["--clickhouse-url", store.url, "--database", store.database]
    return CliRunner().invoke(cli, [*arguments, *options])


def count(client: Client, table: str) -> int:
    return int(client.query(f"SELECT count() FROM {table}").result_rows[0][0])


def test_apply_when_repeated_then_nothing_changes(client: Client) -> None:
    assert len(REQUESTS.apply(client, [REQUEST])) == 1
    assert REQUESTS.read_current(client) == [REQUEST]
    assert REQUESTS.apply(client, [REQUEST]) == []
    assert count(client, "capacity_requests") == 1


def test_apply_when_one_differs_then_only_it_gets_a_new_version(client: Client) -> None:
    other = replace(REQUEST, id="b", requested_until=datetime(2026, 7, 1, tzinfo=UTC))
    REQUESTS.apply(client, [REQUEST, other])
    begins = datetime(2026, 2, 1, tzinfo=UTC)
    changed = replace(REQUEST, gpus=Decimal(4), requested_from=begins)
    [change] = REQUESTS.apply(client, [changed, other])
    assert change.differences() == [
        ("gpus", Decimal("7.125"), Decimal(4)),
        ("from", REQUEST.requested_from, begins),
    ]
    assert sorted(REQUESTS.read_current(client), key=lambda r: r.id) == [changed, other]
    assert count(client, "capacity_requests") == 3


def test_apply_when_a_request_is_left_out_then_it_stays(client: Client) -> None:
    REQUESTS.apply(client, [REQUEST])
    REQUESTS.apply(client, [replace(REQUEST, id="b")])
    assert {r.id for r in REQUESTS.read_current(client)} == {"a", "b"}


def test_prices_when_corrected_then_the_latest_counts(client: Client) -> None:
    price = GpuPrice("H100", "", Decimal("2.5"), datetime(2026, 1, 1, tzinfo=UTC))
    assert len(PRICES.apply(client, [price])) == 1
    assert PRICES.apply(client, [price]) == []
    corrected = replace(price, usd_per_gpu_hour=Decimal("2.25"))
    [change] = PRICES.apply(client, [corrected])
    assert change.differences() == [("usd_per_gpu_hour", Decimal("2.5"), Decimal("2.25"))]
    assert PRICES.read_current(client) == [corrected]


def test_command_when_dry_then_it_tells_and_changes_nothing(
    client: Client, database: StoreConfig, tmp_path: Path
) -> None:
    path = tmp_path / "requests.yaml"
    path.write_text(FILE)
    result = run(database, "requests", "apply", str(path), "--dry-run")
    assert result.exit_code == 0
    assert "+ a\n" in result.stdout
    assert "1 of 1 requests would be applied" in result.stdout
    assert count(client, "capacity_requests") == 0


def test_command_when_applied_twice_then_the_second_says_no_change(
    database: StoreConfig, tmp_path: Path
) -> None:
    path = tmp_path / "requests.yaml"
    path.write_text(FILE)
    assert run(database, "requests", "diff", str(path)).exit_code == 1
    assert "1 of 1 requests applied" in run(database, "requests", "apply", str(path)).stdout
    again = run(database, "requests", "apply", str(path))
    assert (again.exit_code, again.stdout) == (
        0,
        "no change: all 1 stand in the books as they are\n",
    )
    assert run(database, "requests", "diff", str(path)).exit_code == 0


def test_command_when_a_file_is_wrong_then_exit_code_2_and_nothing_written(
    client: Client, database: StoreConfig, tmp_path: Path
) -> None:
    path = tmp_path / "requests.yaml"
    path.write_text(FILE + "  - {id: b, team: search, gpus: -1, from: 2026-13-01}\n")
    result = run(database, "requests", "apply", str(path))
    assert result.exit_code == 2
    assert [line.split("; ")[0] for line in result.stderr.splitlines()] == [
        f"{path}:3: gpus: '-1' is out of range",
        f"{path}:3: from: '2026-13-01' is not in the calendar",
    ]
    assert count(client, "capacity_requests") == 0


def test_command_when_validating_then_it_needs_no_database(tmp_path: Path) -> None:
    path = tmp_path / "requests.yaml"
    path.write_text(FILE)
    result = CliRunner().invoke(cli, ["requests", "validate", str(path)])
    assert result.exit_code == 0
    assert "1 requests, nothing wrong" in result.stdout


def test_command_when_prices_are_applied_then_they_stand(
    client: Client, database: StoreConfig, tmp_path: Path
) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("prices:\n  - {gpu_model: H100, usd_per_gpu_hour: 2.5, from: 2026-01-01}\n")
    result = run(database, "prices", "apply", str(path))
    assert result.exit_code == 0
    assert "+ H100 from 2026-01-01 00:00" in result.stdout
    assert [p.usd_per_gpu_hour for p in PRICES.read_current(client)] == [Decimal("2.5")]


def test_command_when_the_schema_is_missing_then_one_line_says_migrate(
    empty_database: StoreConfig, tmp_path: Path
) -> None:
    path = tmp_path / "requests.yaml"
    path.write_text(FILE)
    result = run(empty_database, "requests", "apply", str(path))
    assert result.exit_code != 0
    assert "run gpuledger migrate" in str(result.exception)
