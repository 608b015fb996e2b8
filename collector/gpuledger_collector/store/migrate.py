"""Brings a database to the schema of this version.

Tables come from numbered migrations, each applied once and recorded with its checksum.
ClickHouse has no transactions for this, so every statement can run again (IF NOT EXISTS), and a
migration that was interrupted is simply repeated. Views hold no data: they are replaced
whenever one of them has changed, in the order of their file names. At last TTLs are made to follow
the retention that the database has, and names are noted that hours have and nobody noted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import chain

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from gpuledger_collector.store import noted, retention
from gpuledger_collector.store.client import StoreError, one_line

_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    name String COMMENT 'File name of the migration; "views" stands for all views together',
    checksum String COMMENT 'SHA-256 of its text',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was applied'
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY name
COMMENT 'Migrations that this database has seen. Written by gpuledger migrate.'
"""

_VIEWS = "views"


class MigrationError(StoreError):
    """The database cannot be brought to this schema; says why in one line."""


@dataclass(frozen=True, slots=True)
class Step:
    """One migration, or all views together."""

    name: str
    statements: tuple[str, ...]
    checksum: str
    applied: bool


def migrate(client: Client, *, dry_run: bool = False) -> list[str]:
    """Apply what is missing; return the names of it. Raises MigrationError.

    The client's database must exist (see `client.connect`). With `dry_run` nothing changes.
    """
    pending = [step for step in status(client) if not step.applied]
    names = [step.name for step in pending]
    if dry_run:
        return names + retention.plan(client, {}).names()
    if pending:
        _run(client, "schema_migrations", _RECORD)
    for step in pending:
        for statement in step.statements:
            _run(client, step.name, statement)
        client.insert(
            "schema_migrations", [(step.name, step.checksum)], column_names=["name", "checksum"]
        )
    lacking = retention.plan(client, {})
    retention.apply(client, lacking)
    for table, statement in noted.statements().items():
        _run(client, table, statement)
    return names + lacking.names()


def status(client: Client) -> list[Step]:
    """Every step of this version, and whether the database has it.

    Raises MigrationError if the database has seen migrations that this version does not know, or
    knows otherwise.
    """
    seen = _seen(client)
    migrations = [_step(name, [text], seen) for name, text in _files("migrations")]
    known = {step.name for step in migrations}
    for step in migrations:
        if step.name in seen and not step.applied:
            raise MigrationError(
                f"{step.name} was changed after this database had applied it: go on with the"
                " gpuledger that made it, or begin new books in another database or directory"
                " (docs/collector.md)"
            )
    for name in sorted(seen.keys() - known - {_VIEWS}):
        raise MigrationError(
            f"the database has {name}, which this version does not know: install a newer gpuledger"
        )
    views = [text for _, text in _files("views")]
    return [*migrations, _step(_VIEWS, views, seen)]


def require_current(client: Client) -> None:
    """Raise MigrationError unless the database has this version's schema."""
    missing = [step.name for step in status(client) if not step.applied]
    if missing:
        raise MigrationError(f"the schema lacks {', '.join(missing)}: run gpuledger migrate")


def split(text: str) -> Iterator[str]:
    """Statements of a file: each ends with a semicolon at the end of a line."""
    for part in f"{text}\n".split(";\n"):
        lines = [line for line in part.splitlines() if not line.startswith("--")]
        statement = "\n".join(lines).strip()
        if statement:
            yield statement


def _step(name: str, texts: list[str], seen: dict[str, str]) -> Step:
    checksum = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    statements = tuple(chain.from_iterable(map(split, texts)))
    return Step(name, statements, checksum, seen.get(name) == checksum)


def _files(folder: str) -> list[tuple[str, str]]:
    entries = (resources.files("gpuledger_sql") / folder).iterdir()
    named = {entry.name: entry for entry in entries if entry.name.endswith(".sql")}
    return [(name, named[name].read_text("utf-8")) for name in sorted(named)]


def _seen(client: Client) -> dict[str, str]:
    try:
        if not client.query("EXISTS TABLE schema_migrations").result_rows[0][0]:
            return {}
        rows = client.query("SELECT name, checksum FROM schema_migrations FINAL").result_rows
    except ClickHouseError as error:
        raise MigrationError(one_line(error)) from error
    return {str(name): str(checksum) for name, checksum in rows}


def _run(client: Client, name: str, statement: str) -> None:
    try:
        client.command(statement)
    except ClickHouseError as error:
        raise MigrationError(f"{name}: {one_line(error)}") from error
