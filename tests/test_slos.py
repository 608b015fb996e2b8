"""Service level objectives: read, refused, applied."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from gpuledger_collector.cli import cli
from gpuledger_collector.ledger.declared import DeclarationError
from gpuledger_collector.ledger.slos import BOOK, Slo
from gpuledger_collector.store.client import StoreConfig

FILE = (
    "slos:\n  - team: search\n    endpoint: chat\n    latency_ms: 500\n    percentile: 95\n"
    "    throughput_rps: 20.5\n    attainment_pct: 99.5\n    from: 2026-01-01\n"
)


def run(store: StoreConfig, *arguments: str) -> Result:
    options = ["--clickhouse-url", store.url, "--database", store.database]
    return CliRunner().invoke(cli, ["slos", *arguments, *options])


def test_slos_when_a_file_is_right_then_every_field_is_read(tmp_path: Path) -> None:
    path = tmp_path / "slos.yaml"
    path.write_text(
        FILE + "    model: ranker\n    until: 2026-06-30\n    owner: ann\n    reason: contract\n"
    )
    assert BOOK.load(path) == [
        Slo(
            team="search",
            model="ranker",
            endpoint="chat",
            valid_from=datetime(2026, 1, 1, tzinfo=UTC),
            valid_until=datetime(2026, 7, 1, tzinfo=UTC),
            latency_ms=500,
            percentile=Decimal(95),
            throughput_rps=Decimal("20.5"),
            attainment_pct=Decimal("99.5"),
            owner="ann",
            reason="contract",
        )
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("latency_ms: 500", "latency_ms: 0", "4: latency_ms: '0' is out of range"),
        ("latency_ms: 500", "latency_ms: 0.5", "4: latency_ms: '0.5' is out of range"),
        ("latency_ms: 500", "latency_ms: 1.5", "4: latency_ms: '1.5' has more than 0 decimals"),
        ("percentile: 95", "percentile: p95", "5: percentile: 'p95' is not a number"),
        ("percentile: 95", "percentile: 101", "5: percentile: '101' is out of range"),
        ("    endpoint: chat\n", "", "2: endpoint: is missing; add `endpoint: ...`"),
        ("team: search", "team: unattributed", "2: team: unattributed is what the books call"),
        ("from: 2026-01-01", "from: 2026-02-30", "8: from: '2026-02-30' is not in the calendar"),
        (
            "from: 2026-01-01",
            "from: 2026-01-01\n    until: 2025-12-31",
            "9: until: is not after `from`",
        ),
    ],
)
def test_slos_when_a_field_is_wrong_then_place_and_remedy_are_told(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    path = tmp_path / "slos.yaml"
    path.write_text(FILE.replace(old, new))
    with pytest.raises(DeclarationError) as caught:
        BOOK.load(path)
    [told] = caught.value.problems
    assert told.startswith(f"{path}:{problem}")


def test_slos_when_two_begin_at_once_then_the_second_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slos.csv"
    path.write_text(
        "team,endpoint,latency_ms,percentile,attainment_pct,from\n"
        "search,chat,500,95,99,2026-01-01\n"
        "search,chat,400,95,99,2026-02-01\n"
        "search,chat,300,95,99,2026-01-01T00:00Z\n"
    )
    with pytest.raises(DeclarationError) as caught:
        BOOK.load(path)
    [told] = caught.value.problems
    assert told.startswith(
        f"{path}:4: from: an objective of this endpoint from then on stands on line 2 already;"
    )


def test_slos_when_applied_twice_then_the_second_says_no_change(
    client: Client, database: StoreConfig, tmp_path: Path
) -> None:
    path = tmp_path / "slos.yaml"
    path.write_text(FILE)
    assert run(database, "diff", str(path)).exit_code == 1
    first = run(database, "apply", str(path))
    assert "+ search/chat from 2026-01-01 00:00" in first.stdout
    assert "1 of 1 slos applied" in first.stdout
    again = run(database, "apply", str(path))
    assert again.stdout == "no change: all 1 stand in the books as they are\n"
    path.write_text(FILE.replace("500", "400"))
    assert "    latency_ms: 500 -> 400\n" in run(database, "apply", str(path)).stdout
    assert client.query("SELECT latency_ms FROM slos ORDER BY applied_at").result_rows == [
        (500,),
        (400,),
    ]
    assert [slo.latency_ms for slo in BOOK.read_current(client)] == [400]
    exported = tmp_path / "exported.yaml"
    exported.write_text(run(database, "export").stdout)
    assert run(database, "diff", str(exported)).exit_code == 0
