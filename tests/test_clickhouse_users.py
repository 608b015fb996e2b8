"""Who may do what in ClickHouse: packaging/clickhouse, as the real engine enforces it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from gpuledger_agent.check_result import Check, Verdict
from gpuledger_collector.cli import cli
from gpuledger_collector.doctor.examine import examine
from gpuledger_collector.ledger import findings, rules
from gpuledger_collector.rollup import Rollup
from gpuledger_collector.store.client import connect
from gpuledger_collector.store.migrate import require_current, split
from tests.ledger_fleet import fill_an_hour
from tests.packaged_clickhouse import (
    ADMIN,
    READER,
    ROLES,
    USERS,
    WRITER,
    XML,
    Packaged,
    installed,
    packaged,
)

TREE = ET.fromstring(XML)  # noqa: S314 - our own

INTERNAL = {"days_stand", "read_by_hour", "slo_list", "observed_hourly"}
"""Views that other views are made of, and nobody else should rely on."""

VIEWS = {path.name[3:-4] for path in (resources.files("gpuledger_sql") / "views").iterdir()}
PUBLIC = sorted(VIEWS - INTERNAL)
READABLE = sorted([*PUBLIC, "fleet_seen", "schema_migrations"])


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Packaged]:
    """An hour of books, migrated by one of the users and written by another."""
    with packaged(tmp_path_factory.mktemp("users"), fill_an_hour) as found:
        yield found


def in_sql(role: str) -> set[str]:
    """What roles.sql grants a role."""
    return set(re.findall(rf"^GRANT (.+) TO {role};$", ROLES, re.MULTILINE))


def in_xml(user: str) -> set[str]:
    """What users.xml grants a user."""
    found = TREE.iterfind(f"users/{user}/grants/query")
    return {(query.text or "").removeprefix("GRANT ") for query in found}


@pytest.mark.parametrize("user", [ADMIN, WRITER, READER])
def test_grants_when_written_as_sql_and_as_xml_then_they_are_the_same(user: str) -> None:
    [role] = re.findall(rf"^GRANT (\w+) TO {user};$", USERS, re.MULTILINE)
    assert in_sql(role) == in_xml(user)
    assert in_xml(user)


def test_reader_when_views_come_and_go_then_it_is_granted_those_that_are_public() -> None:
    assert in_xml(READER) == {f"SELECT ON gpuledger.{name}" for name in READABLE}
    assert VIEWS >= INTERNAL


def test_limits_when_written_as_sql_and_as_xml_then_they_are_the_same() -> None:
    [profile] = re.findall(
        r"PROFILE OR REPLACE gpuledger_reader SETTINGS(.+?)TO ", ROLES, re.DOTALL
    )
    said = dict(re.findall(r"(\w+) = '?(\w+)'?", profile))
    found = TREE.find("profiles/gpuledger_reader")
    assert found is not None
    assert said == {limit.tag: limit.text for limit in found if limit.tag != "constraints"}
    [(least, most)] = re.findall(r"MIN (\d+) MAX (\d+) CHANGEABLE_IN_READONLY", profile)
    [timeout] = found.iterfind("constraints/max_execution_time")
    assert {limit.tag: limit.text for limit in timeout} == {
        "min": least, "max": most, "changeable_in_readonly": None,
    }  # fmt: skip
    quota = re.search(r"FOR INTERVAL 1 hour MAX execution_time = (\d+)", ROLES)
    assert quota
    interval = TREE.find("quotas/gpuledger_reader/interval")
    assert interval is not None
    assert {limit.tag: limit.text for limit in interval} == {
        "duration": "3600", "execution_time": quota[1],
    }  # fmt: skip


def test_statements_when_clickhouse_parses_them_then_they_are_sql(books: Packaged) -> None:
    statements = [*split(ROLES), *split(USERS)]
    said = {text: books.ask(f"EXPLAIN AST {text}", ADMIN) for text in statements}
    assert {text: answer.error for text, answer in said.items() if not answer.rows} == {}
    assert len(said) > len(PUBLIC)


def test_password_when_nobody_put_one_in_then_there_is_none() -> None:
    given = re.findall(r"(?:BY '|_hex>)(\w+)['<]", USERS + XML)
    assert len(given) == 6
    assert all(re.fullmatch("SHA256_OF_[A-Z]+", word) for word in given)
    assert "SHA256_OF" not in installed()


def test_reader_when_it_asks_public_views_then_it_is_answered(books: Packaged) -> None:
    said = {view: books.ask(f"SELECT * FROM {view} LIMIT 1") for view in PUBLIC}
    assert {view: answer.error for view, answer in said.items() if answer.error} == {}
    assert said["process_usage"].rows
    assert said["ledger_hourly"].rows


def test_reader_when_it_asks_anything_else_of_the_books_then_it_is_refused(
    books: Packaged,
) -> None:
    there = books.ask("SELECT name FROM system.tables WHERE database = 'gpuledger'", ADMIN).rows
    others = sorted({row["name"] for row in there} - set(READABLE))
    assert len(others) > 30
    for name in others:
        assert "ACCESS_DENIED" in books.ask(f"SELECT * FROM gpuledger.`{name}` LIMIT 1").error


def test_reader_when_it_looks_for_tables_then_it_sees_its_views_alone(books: Packaged) -> None:
    seen = books.ask("SELECT name FROM system.tables WHERE database = 'gpuledger' ORDER BY name")
    assert [row["name"] for row in seen.rows] == READABLE


TELL_NOTHING = {
    "aggregate_function_combinators", "collations", "columns", "completions", "contributors",
    "current_roles", "data_type_families", "database_engines", "databases", "dictionary_layouts",
    "disk_types", "enabled_roles", "formats", "functions", "licenses", "one", "privileges",
    "quota_usage", "settings", "table_engines", "table_functions", "tables", "time_zones",
    "user_query_log",
}  # fmt: skip
"""System tables that ClickHouse opens to all: of itself, or with the user's own rows only."""


def test_reader_when_it_asks_system_tables_then_they_tell_nothing_of_others(
    books: Packaged,
) -> None:
    with connect(books.server.store) as client:
        found = client.query("SELECT name FROM system.tables WHERE database = 'system'")
        names = {name for (name,) in found.result_rows}
    assert len(names) > 100
    told = {name for name in names if not books.ask(f"SELECT * FROM system.{name} LIMIT 1").error}
    assert told <= TELL_NOTHING


CHANGES = (
    "INSERT INTO process_usage_raw (host) VALUES ('x')",
    "INSERT INTO ledger_hourly (team) VALUES ('x')",
    "ALTER TABLE process_usage_raw DELETE WHERE 1",
    "DELETE FROM process_usage_raw WHERE 1",
    "TRUNCATE TABLE process_usage_raw",
    "OPTIMIZE TABLE process_usage_raw",
    "DROP VIEW ledger_hourly",
    "CREATE OR REPLACE VIEW ledger_hourly AS SELECT 1",
    "CREATE TEMPORARY TABLE t (a UInt8)",
    "CREATE FUNCTION f AS (x) -> x",
    "CREATE USER u",
    "GRANT SELECT ON gpuledger.process_usage_raw TO gpuledger_grafana",
    "KILL QUERY WHERE 1",
    "SYSTEM STOP MERGES gpuledger.process_usage_raw",
    "SYSTEM SHUTDOWN",
)

ELSEWHERE = (
    "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT file('/etc/passwd')",
    "SELECT * FROM remote('127.0.0.1', gpuledger.process_usage_raw)",
    "SELECT * FROM s3('http://127.0.0.1:1/bucket/key', 'CSV', 'a String')",
    "SELECT * FROM mysql('127.0.0.1:1', 'd', 't', 'u', 'p')",
    "SELECT * FROM executable('id', 'TSV', 'a String')",
    "SELECT * FROM merge('gpuledger', 'process_usage_raw')",
    "SELECT * FROM mergeTreeIndex(gpuledger, process_usage_raw)",
    "SELECT * FROM clusterAllReplicas('default', system.users)",
)

BEYOND_LIMITS = (
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT 1 SETTINGS max_memory_usage = 0",
    "SELECT 1 SETTINGS max_execution_time = 0",
    "SELECT 1 SETTINGS max_execution_time = 301",
    "SELECT number FROM numbers(2000000)",
)


@pytest.mark.parametrize("sql", [*CHANGES, *ELSEWHERE, *BEYOND_LIMITS])
def test_reader_when_it_asks_for_more_than_views_then_it_is_refused(
    books: Packaged, sql: str
) -> None:
    said = books.ask(sql).error
    assert re.search(
        "ACCESS_DENIED|READONLY|SETTING_CONSTRAINT_VIOLATION|TOO_MANY_ROWS|Permission denied"
        "|CANNOT_EXTRACT_TABLE_STRUCTURE|CLUSTER_DOESNT_EXIST",
        said,
    ), said or "not refused"


def test_reader_when_it_logs_in_then_its_limits_are_in_force(books: Packaged) -> None:
    asked = "SELECT name, value FROM system.settings WHERE name IN ('max_memory_usage', 'readonly')"
    assert {row["name"]: row["value"] for row in books.ask(asked).rows} == {
        "max_memory_usage": "4000000000", "readonly": "1",
    }  # fmt: skip
    quota = books.ask("SELECT quota_name, max_execution_time FROM system.quota_usage").rows
    assert quota == [{"quota_name": "gpuledger_reader", "max_execution_time": 14400}]


@pytest.mark.parametrize(
    "command", [("query", "SELECT team, held_gpu_hours FROM ledger_hourly"), ("report",)]
)
def test_reader_when_it_uses_the_commands_that_read_then_they_work(
    books: Packaged, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "password").write_text(READER)
    flags = ("--clickhouse-url", books.server.url, "--username", READER)
    secret = ("--password-file", str(tmp_path / "password"), "--format", "csv")
    done = CliRunner().invoke(cli, [*command, *flags, *secret], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "search" in done.output


def test_user_when_the_password_is_wrong_then_it_is_nobody(books: Packaged) -> None:
    for user in (ADMIN, WRITER, READER):
        assert "AUTHENTICATION_FAILED" in books.ask("SELECT 1", user, password="x").error


def test_writer_when_it_keeps_the_books_then_it_may_all_that_this_takes(books: Packaged) -> None:
    with connect(books.store(WRITER)) as client:
        require_current(client)
        rollup = Rollup(client, settle_s=0)
        fill_an_hour(client)
        while rollup.run_once():
            pass
        rollup.sweep(keep_s=0)
        assert findings.evaluate(client, rules.built_in())
        assert client.query("SELECT count() FROM rule_evaluations").result_rows != [(0,)]


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE process_usage_raw",
        "TRUNCATE TABLE process_usage_raw",
        "ALTER TABLE process_usage_raw MODIFY TTL ts + INTERVAL 1 DAY",
        "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a",
        "CREATE OR REPLACE VIEW ledger_hourly AS SELECT 1",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM system.users",
        "CREATE DATABASE d",
    ],
)
def test_writer_when_it_would_change_the_schema_or_look_elsewhere_then_it_is_refused(
    books: Packaged, sql: str
) -> None:
    assert "ACCESS_DENIED" in books.ask(sql, WRITER).error


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE USER u",
        "CREATE DATABASE d",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
        "DROP DATABASE gpuledger",
    ],
)
def test_admin_when_it_would_leave_its_database_then_it_is_refused(
    books: Packaged, sql: str
) -> None:
    assert "ACCESS_DENIED" in books.ask(sql, ADMIN).error


def examined(books: Packaged, user: str) -> dict[str, Check]:
    return {found.subject: found for found in examine(books.store(user), 10)}


def test_doctor_when_the_admin_asks_then_everything_is_seen(books: Packaged) -> None:
    found = examined(books, ADMIN)
    assert [check.text for check in found.values() if check.text.startswith("not seen")] == []
    assert found["retention"].verdict is Verdict.OK
    assert "daily forever" in found["retention"].text


def test_doctor_when_the_reader_asks_then_what_is_not_seen_is_said_and_no_failure(
    books: Packaged,
) -> None:
    found = examined(books, READER)
    unseen = {subject for subject, check in found.items() if check.text.startswith("not seen")}
    assert unseen == {"retention", "names", "disk", "parts", "roll-ups", "requests"}
    assert {found[subject].verdict for subject in unseen} == {Verdict.WARN}
    assert {found[subject].remedy for subject in unseen} == {"ask as admin (--username)"}
