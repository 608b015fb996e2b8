"""Migrations: complete, repeatable after any interruption, and never edited."""

from __future__ import annotations

from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

import gpuledger_sql
from gpuledger_collector.store.client import StoreConfig, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import (
    MigrationError,
    migrate,
    require_current,
    split,
    status,
)
from tests.clickhouse_fixture import database_of_its_own
from tests.dump_schema import SCHEMA, dump


def test_migrate_when_run_twice_then_the_second_changes_nothing(
    empty_database: StoreConfig,
) -> None:
    with connect(empty_database) as client:
        first = migrate(client)
        assert first[-1] == "views"
        assert first[:-1] == sorted(first[:-1])
        before = dump(client)
        assert migrate(client) == []
        assert dump(client) == before
        require_current(client)


def test_migrate_when_dry_then_it_names_all_and_changes_nothing(
    empty_database: StoreConfig,
) -> None:
    with connect(empty_database) as client:
        named = migrate(client, dry_run=True)
        assert named == [step.name for step in status(client)]
        assert client.query("SHOW TABLES").result_rows == []
        with pytest.raises(MigrationError, match="run gpuledger migrate"):
            require_current(client)


def test_migrate_when_cut_off_after_any_statement_then_the_next_run_completes_it(
    clickhouse_server: EmbeddedServer, client: Client
) -> None:
    whole = dump(client)
    with database_of_its_own(clickhouse_server) as other, connect(other) as half:
        for step in status(half):
            for statement in step.statements:
                half.command(statement)
        assert not any(step.applied for step in status(half))
        migrate(half)
        assert dump(half) == whole


def test_migrate_when_a_migration_was_edited_or_is_unknown_then_refused(client: Client) -> None:
    columns = ["name", "checksum"]
    client.insert("schema_migrations", [("9999_future.sql", "x")], column_names=columns)
    with pytest.raises(MigrationError, match="install a newer gpuledger"):
        migrate(client)
    client.insert("schema_migrations", [("0001_telemetry.sql", "x")], column_names=columns)
    with pytest.raises(MigrationError, match="was changed after"):
        migrate(client)


def test_schema_when_dumped_then_it_equals_the_file_in_the_repository(client: Client) -> None:
    assert dump(client) == SCHEMA.read_text(), "run make schema, and look at the difference"


def test_schema_when_read_then_every_table_and_column_has_a_comment(client: Client) -> None:
    tables = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND comment = ''"
        " AND engine != 'MaterializedView'"
    ).result_rows
    assert tables == []
    columns = client.query(
        "SELECT table, name FROM system.columns WHERE database = currentDatabase()"
        " AND comment = '' AND table NOT IN (SELECT name FROM system.tables"
        " WHERE database = currentDatabase() AND engine = 'MaterializedView')"
    ).result_rows
    assert columns == []


def test_views_when_read_then_they_name_their_columns_and_run_as_their_definer() -> None:
    views = Path(gpuledger_sql.__file__).parent / "views"
    for file in views.glob("*.sql"):
        text = file.read_text()
        assert "SELECT *" not in text, file.name
        assert "SQL SECURITY DEFINER" in text, file.name
        assert text.startswith("-- "), file.name


def test_split_when_statements_hold_semicolons_and_comments_then_they_stay_whole() -> None:
    text = "-- why; so\nCREATE a COMMENT 'x; y';\n\nCREATE b;\n-- end\n"
    assert list(split(text)) == ["CREATE a COMMENT 'x; y'", "CREATE b"]
