"""`gpuledger findings` and the rules that an operator sets."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from gpuledger_collector.cli import cli
from gpuledger_collector.ledger import rules
from gpuledger_collector.ledger.declared import DeclarationError
from gpuledger_collector.serve import CollectorSettings, CollectorThread
from gpuledger_collector.store.client import StoreConfig
from tests.ledger_fleet import insert
from tests.test_findings import T0
from tests.waiting import wait_until


def run(store: StoreConfig, *arguments: str) -> Result:
    """`gpuledger findings …` on this database."""
    where = ["--clickhouse-url", store.url, "--database", store.database]
    return CliRunner().invoke(cli, ["findings", *arguments, *where])


@pytest.fixture
def two(client: Client) -> list[str]:
    """A warning of 5 USD for search and a note without money for speech; their ids."""
    common = {"first_seen": T0, "evaluated_at": T0, "pool": "production", "last_seen": T0}
    search = {"rule": "idle_allocation", "subject": "web", "severity": "warning", "team": "search"}
    speech = {"rule": "memory_swing", "subject": "asr", "severity": "info", "team": "speech"}
    insert(
        client,
        "finding_versions",
        [
            common | search | {"usd": 5.0, "evidence": {"gpus": "2"}},
            common | speech | {"usd": None, "evidence": {}},
        ],
    )
    rows = client.query("SELECT id FROM open_findings").result_rows
    return [finding for (finding,) in rows]


def test_findings_when_nothing_is_open_then_exit_code_0(database: StoreConfig) -> None:
    result = run(database)
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "subjects"),
    [
        ([], ["web", "asr"]),
        (["--team", "speech"], ["asr"]),
        (["--severity", "warning"], ["web"]),
        (["--severity", "critical"], []),
        (["--team", "speech", "--severity", "warning"], []),
        (["--team", ""], []),
    ],
)
def test_findings_when_some_are_open_at_or_above_then_exit_code_1_and_worst_money_first(
    database: StoreConfig, two: list[str], arguments: list[str], subjects: list[str]
) -> None:
    result = run(database, *arguments, "--format", "json")
    rows = json.loads(result.stdout)
    assert [row["subject"] for row in rows] == subjects
    assert [row["id"] for row in rows] == [i for i, s in zip(two, ["web", "asr"], strict=True)
                                           if s in subjects]  # fmt: skip
    assert result.exit_code == int(bool(subjects))


def test_findings_when_asked_for_csv_or_a_table_then_it_is_one(
    database: StoreConfig, two: list[str]
) -> None:
    [web, _] = csv.DictReader(io.StringIO(run(database, "--format", "csv").stdout))
    assert (web["id"], web["usd"], json.loads(web["evidence"])) == (two[0], "5", {"gpus": "2"})
    assert "idle_allocation" in run(database).stdout


def test_ack_when_given_then_findings_leaves_it_out_until_it_is_taken_back(
    database: StoreConfig, two: list[str]
) -> None:
    web, asr = two
    done = run(database, "ack", web, "--reason", "launch", "--until", "30d", "--by", "ann")
    assert (done.exit_code, web in done.stdout) == (0, True)
    shown = json.loads(run(database, "--format", "json").stdout)
    assert [row["id"] for row in shown] == [asr]
    [row, _] = sorted(
        json.loads(run(database, "--all", "--format", "json").stdout), key=lambda r: r["state"]
    )
    assert (row["state"], row["acked_by"], row["ack_reason"]) == ("acknowledged", "ann", "launch")
    assert run(database, "--severity", "warning").exit_code == 0
    assert run(database, "unack", web).exit_code == 0
    assert run(database, "--severity", "warning").exit_code == 1


@pytest.mark.parametrize(
    ("until", "reason", "says"),
    [
        ("soon", "r", "is no time"),
        ("2020-01-01", "r", "is past"),
        ("99999d", "r", "beyond 2099"),
        ("30d", " ", "--reason: is empty"),
    ],
)
def test_ack_when_it_makes_no_sense_then_one_line_and_exit_code_2(
    database: StoreConfig, two: list[str], until: str, reason: str, says: str
) -> None:
    result = run(database, "ack", two[0], "--until", until, "--reason", reason)
    assert result.exit_code == 2
    assert says in result.output
    assert run(database, "ack", "x", "--until", "1d", "--reason", "r").exit_code == 2


def test_show_when_given_an_id_then_evidence_and_what_to_do(
    database: StoreConfig, two: list[str]
) -> None:
    shown = run(database, "show", two[0]).stdout
    assert "Stop the workload" in shown
    assert "gpus" in shown


def test_evaluate_when_asked_then_every_rule_is_evaluated_with_the_operators_thresholds(
    database: StoreConfig, client: Client, tmp_path: Path
) -> None:
    names = ("ts", "gap_s", "host", "reason")
    insert(client, "telemetry_gaps_raw", [dict(zip(names, (T0, 300, "h", "disk"), strict=True))])
    assert run(database, "evaluate").exit_code == 0
    assert client.query("SELECT count() FROM open_findings").result_rows == [(0,)]
    config = tmp_path / "rules.toml"
    config.write_text("[telemetry_gap]\nmin_gap_minutes = 5\nseverity = 'critical'\n")
    result = run(database, "evaluate", "--rules-config", str(config), "--format", "json")
    assert {row["rule"]: row["found"] for row in json.loads(result.stdout)} == {
        rule.name: int(rule.name == "telemetry_gap") for rule in rules.built_in()
    }
    assert run(database, "--severity", "critical").exit_code == 1


def test_findings_when_options_stand_before_a_subcommand_then_they_count(
    database: StoreConfig,
) -> None:
    where = ["--clickhouse-url", database.url, "--database", database.database]
    result = CliRunner().invoke(cli, ["findings", *where, "evaluate"])
    assert result.exit_code == 0, result.output


def test_rules_when_listed_then_thresholds_are_those_in_force(tmp_path: Path) -> None:
    config = tmp_path / "rules.toml"
    config.write_text("[idle_allocation]\nmin_idle_hours = 3\n[memory_swing]\nenabled = false\n")
    result = CliRunner().invoke(
        cli, ["findings", "rules", "--rules-config", str(config), "--format", "json"]
    )
    told = {(row["rule"], row["threshold"]): row for row in json.loads(result.stdout)}
    assert told["idle_allocation", "min_idle_hours"]["value"] == 3
    assert told["idle_allocation", "min_idle_hours"]["unit"] == "hours"
    assert told["memory_swing", "min_ratio"]["severity"] == "off"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[idle]\n", "[idle]: is no rule; take one of consolidation,"),
        ("[idle_allocation]\nhours = 3\n", "[idle_allocation] hours: is no setting; take one of"),
        ("[idle_allocation]\nmin_idle_hours = '3'\n", "is not a number; write hours in digits"),
        ("[idle_allocation]\nmin_idle_hours = true\n", "is not a number; write hours in digits"),
        ("[idle_allocation]\nmin_idle_hours = -1\n", "is out of range; take more than 0"),
        ("[idle_allocation]\nmin_idle_hours = nan\n", "is out of range"),
        ("[over_provisioned_request]\nmin_reclaimable_pct = 101\n", "up to 100"),
        ("[experiment_on_production]\nproduction_pool = 3\n", "is not text"),
        ("[idle_allocation]\nseverity = 'urgent'\n", "take one of info, warning, critical"),
        ("[idle_allocation]\nenabled = 1\n", "is neither true nor false"),
        ("min_idle_hours = 3\n", "stands outside of a rule"),
        ("[idle_allocation\n", "is not TOML"),
        # What takes tomllib 64 MiB here takes it the host's memory at the size of a file.
        ("a" + ".a" * 4_000 + " = 1", "is not TOML: keys of too many parts; correct it"),
    ],
)
def test_rules_config_when_wrong_then_one_line_names_place_and_remedy(
    tmp_path: Path, text: str, says: str
) -> None:
    config = tmp_path / "rules.toml"
    config.write_text(text)
    with pytest.raises(DeclarationError) as refused:
        rules.load(config)
    [line] = refused.value.problems
    assert line.startswith(f"{config}: ")
    assert says in line
    given = ["--rules-config", str(config)]
    for command in (["findings", "rules", *given], ["findings", *given], ["serve", *given],
                    ["findings", *given, "unack", "9205d71015092cc4"]):  # fmt: skip
        result = CliRunner().invoke(cli, command)
        assert (result.exit_code, result.output) == (2, f"{line}\n")


@pytest.mark.parametrize(
    ("header", "sql"),
    [
        ("severity = 'warning'", "SELECT {limit:Float64}"),
        ("severity = 'urgent'", "SELECT 1"),
        (
            "severity = 'info'\n-- thresholds.limit = { default = 1, unit = 'h', meaning = 'm' }",
            "SELECT 1",
        ),
    ],
)
def test_rule_file_when_header_and_sql_disagree_then_it_is_refused(header: str, sql: str) -> None:
    with pytest.raises(ValueError, match=r"limit|urgent"):
        rules.parse("r", f"-- description = 'd'\n-- remedy = 'r'\n-- {header}\n{sql}\n")


def test_rules_when_built_in_then_all_are_documented() -> None:
    page = (Path(__file__).parent.parent / "docs" / "findings.md").read_text()
    for rule in rules.built_in():
        assert f"`{rule.name}`" in page
        for threshold in rule.thresholds:
            assert f"`{threshold.name}`" in page


def test_collector_when_it_runs_then_rules_are_evaluated_without_being_asked(
    database: StoreConfig, client: Client
) -> None:
    names = ("ts", "gap_s", "host", "reason")
    insert(client, "telemetry_gaps_raw", [dict(zip(names, (T0, 999, "h", "disk"), strict=True))])
    settings = CollectorSettings("127.0.0.1:0", "", database, rules=rules.built_in())
    with CollectorThread(settings):
        wait_until(
            lambda: client.query("SELECT subject FROM open_findings").result_rows == [("h",)]
        )
