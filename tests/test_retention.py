"""How long things are kept: set once, remembered, followed by TTLs, and never reset by accident."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from gpuledger_collector.cli import cli
from gpuledger_collector.store import retention
from gpuledger_collector.store.client import StoreConfig
from gpuledger_collector.store.migrate import migrate
from gpuledger_collector.store.retention import TABLES, RetentionError, parse

ALL_TABLES = [table for tables in TABLES.values() for table in tables]


def run(store: StoreConfig, *arguments: str, env: dict[str, str] | None = None) -> Result:
    options = ["--clickhouse-url", store.url, "--database", store.database]
    return CliRunner().invoke(cli, ["migrate", *arguments, *options], env=env or {})


def states(store: StoreConfig, *arguments: str) -> tuple[int, dict[str, str]]:
    """Exit code of --status, and what it says of each retention."""
    result = run(store, "--status", *arguments)
    lines = [line.split(maxsplit=2) for line in result.stdout.splitlines()]
    said = [words for words in lines if words[:1] == ["retention"]]
    return result.exit_code, {kind: state.strip() for _, kind, state in said}


def settings(client: Client) -> dict[str, str]:
    rows = client.query("SELECT kind, argMax(stated, applied_at) FROM retention GROUP BY kind")
    return dict(rows.result_rows)


def ttl_hours(client: Client) -> dict[str, int]:
    """TTL by table, hours; 0 for none."""
    rows = client.query(
        "SELECT name, toUInt32OrZero(extract(create_table_query, 'TTL .* toIntervalHour.([0-9]+)'))"
        " FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        " AND (create_table_query LIKE '% TTL %' OR name IN {names:Array(String)})"
        " AND name NOT IN ('rule_evaluations', 'notifier_leases')",  # as their own migrations say
        parameters={"names": ALL_TABLES},
    ).result_rows
    return dict(rows)


def expected(raw: int, hourly: int, daily: int) -> dict[str, int]:
    """The same from days: a day is dropped an hour after it has ceased to count."""
    days = {"raw": raw, "hourly": hourly, "daily": daily}
    kinds = [(table, kind) for kind, tables in TABLES.items() for table in tables]
    return {table: days[kind] and 24 * days[kind] + 1 for table, kind in kinds}


def test_retention_when_nothing_was_said_then_it_is_14_days_13_months_and_forever(
    client: Client, database: StoreConfig
) -> None:
    assert ttl_hours(client) == expected(14, 403, 0)
    told = (0, {"raw": "14d", "hourly": "13mo", "daily": "forever"})
    assert states(database) == told


def test_retention_when_set_then_ttls_follow_and_later_migrations_leave_it(
    client: Client, database: StoreConfig
) -> None:
    flags = ["--retention-raw", "7d", "--retention-hourly", "6w", "--retention-daily", "2y"]
    result = run(database, *flags)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "applied retention raw 7d",
        "applied retention hourly 6w",
        "applied retention daily 2y",
    ]
    wanted = expected(7, 42, 732)
    assert ttl_hours(client) == wanted
    for arguments in ([], flags, ["--retention-raw", "1w"]):
        assert run(database, *arguments).stdout == f"{database.database} is up to date\n"
    assert migrate(client) == []
    assert ttl_hours(client) == wanted
    assert states(database) == (0, {"raw": "7d", "hourly": "6w", "daily": "2y"})


def test_retention_when_altered_then_only_what_differs_changes_and_forever_ends_it(
    client: Client, database: StoreConfig
) -> None:
    run(database, "--retention-daily", "2y")
    result = run(database, "--retention-daily", "forever", "--retention-raw", "14d")
    assert result.stdout == "applied retention daily forever\n"
    assert ttl_hours(client) == expected(14, 403, 0)
    forever = [f"--retention-{kind}=forever" for kind in TABLES]
    assert run(database, *forever).exit_code == 0
    assert ttl_hours(client) == expected(0, 0, 0)


def test_retention_when_dry_then_it_says_what_would_be_and_changes_nothing(
    client: Client, database: StoreConfig
) -> None:
    result = run(database, "--dry-run", "--retention-raw", "7d")
    assert result.stdout == "would apply retention raw 7d\n"
    assert settings(client)["raw"] == "14d"
    assert ttl_hours(client) == expected(14, 403, 0)


def test_retention_when_the_database_is_empty_then_it_comes_with_the_schema(
    empty_database: StoreConfig,
) -> None:
    dry = run(empty_database, "--dry-run", "--retention-raw", "7d")
    assert dry.stdout.endswith("would apply views\nwould apply retention raw 7d\n")
    assert states(empty_database)[0] == 1
    assert run(empty_database, "--retention-raw", "7d").exit_code == 0
    assert states(empty_database) == (0, {"raw": "7d", "hourly": "13mo", "daily": "forever"})


def test_status_when_something_is_still_to_do_then_it_says_so_and_exits_with_1(
    client: Client, database: StoreConfig
) -> None:
    code, told = states(database, "--retention-raw", "7d")
    assert (code, told["raw"]) == (1, "14d, to become 7d")
    client.command("ALTER TABLE rolled_hours REMOVE TTL")
    code, told = states(database)
    assert (code, told["hourly"]) == (1, "13mo, not yet of rolled_hours")


def test_migrate_when_a_ttl_was_altered_by_hand_then_it_is_put_right_and_told(
    client: Client, database: StoreConfig
) -> None:
    client.command("ALTER TABLE gpu_usage_raw MODIFY TTL toStartOfDay(ts) + INTERVAL 3 DAY")
    client.command("ALTER TABLE ledger_daily_versions MODIFY TTL day + INTERVAL 3 DAY")
    told = "applied retention raw 14d\napplied retention daily forever\n"
    assert run(database).stdout == told
    assert ttl_hours(client) == expected(14, 403, 0)


def test_retention_when_made_longer_then_what_is_gone_stays_gone(
    client: Client, database: StoreConfig
) -> None:
    def kept() -> list[int]:
        [row] = client.query(
            "SELECT dateDiff('day', raw_from, now('UTC')), dateDiff('day', hourly_from, now('UTC'))"
            " FROM kept_from"
        ).result_rows
        return list(row)

    run(database, "--retention-raw", "20d", "--retention-hourly", "500d")
    assert kept() == [19, 499]
    client.command("INSERT INTO touched_hours SELECT toStartOfHour(now('UTC')), now64(6)")
    run(database, "--retention-raw", "7d", "--retention-hourly", "50d")
    assert kept() == [6, 49]
    run(database, "--retention-raw", "30d", "--retention-hourly", "forever")
    assert kept() == [6, 49]


class _CutOff(BaseException):
    """The end of `gpuledger migrate`."""


class _CutOffClient:
    """A connection whose process dies before one of its changes, the first being 0."""

    def __init__(self, client: Client, change: int) -> None:
        self._client = client
        self._left = change

    def query(self, *arguments: Any, **named: Any) -> Any:
        return self._client.query(*arguments, **named)

    def command(self, *arguments: Any, **named: Any) -> Any:
        self._step()
        return self._client.command(*arguments, **named)

    def _step(self) -> None:
        if not self._left:
            raise _CutOff
        self._left -= 1


@pytest.mark.parametrize("text", ["7d", "30d"])
@pytest.mark.parametrize("change", [0, 1, 3, 5])
def test_retention_when_cut_off_anywhere_then_the_next_migration_makes_it_whole(
    client: Client, text: str, change: int
) -> None:
    planned = retention.plan(client, {"raw": parse(text)})
    with pytest.raises(_CutOff):
        retention.apply(_CutOffClient(client, change), planned)  # type: ignore[arg-type]
    promised = parse(settings(client)["raw"]).days
    assert all(ttl_hours(client)[table] > 24 * promised for table in TABLES["raw"])
    migrate(client)
    [days] = {hours // 24 for t, hours in ttl_hours(client).items() if t in TABLES["raw"]}
    assert days in {14, parse(text).days}
    assert settings(client)["raw"] == f"{days}d"


@pytest.mark.parametrize(
    ("flag", "value", "remedy"),
    [
        ("--retention-raw", "14", "write 14d, 6w, 13mo, 2y or forever"),
        ("--retention-raw", "0d", "write 14d"),
        ("--retention-raw", "-1d", "write 14d"),
        ("--retention-raw", "\u0661\u0664d", "write 14d"),
        ("--retention-raw", "1d", "at least 2d"),
        ("--retention-raw", "402d", "must be 2d longer than raw 402d"),
        ("--retention-raw", "forever", "must be 2d longer than raw forever"),
        ("--retention-hourly", "30d", "at least 31d"),
        ("--retention-hourly", "51y", "at most 50y; or write forever"),
        ("--retention-daily", "12mo", "no shorter than hourly 13mo"),
    ],
)
def test_retention_when_it_makes_no_sense_then_one_line_says_the_remedy(
    client: Client, database: StoreConfig, flag: str, value: str, remedy: str
) -> None:
    result = run(database, f"{flag}={value}")
    assert result.exit_code == 2
    assert remedy in result.stderr.splitlines()[-1]
    assert ttl_hours(client) == expected(14, 403, 0)


def test_retention_when_in_a_file_or_the_environment_then_it_counts(
    database: StoreConfig, tmp_path: Path
) -> None:
    file = tmp_path / "collector.toml"
    file.write_text('[migrate]\nretention_raw = "7d"\nretention_hourly = "90d"\n')
    options = ["--clickhouse-url", database.url, "--database", database.database]
    variables = {"GPULEDGER_MIGRATE_RETENTION_RAW": "5d"}
    result = CliRunner().invoke(cli, ["--config", str(file), "migrate", *options], env=variables)
    assert result.exit_code == 0
    assert states(database) == (0, {"raw": "5d", "hourly": "90d", "daily": "forever"})


@pytest.mark.parametrize(
    ("text", "days"), [("2d", 2), ("6w", 42), ("13mo", 403), ("50y", 18_300), ("forever", 0)]
)
def test_parse_when_months_and_years_vary_then_they_are_the_longest(text: str, days: int) -> None:
    assert parse(text).days == days


@pytest.mark.parametrize("text", ["", "d", "1.5d", "14 d", "14D", "1m", "for ever", "99999999d"])
def test_parse_when_it_is_no_duration_then_refused(text: str) -> None:
    with pytest.raises(RetentionError):
        parse(text)
