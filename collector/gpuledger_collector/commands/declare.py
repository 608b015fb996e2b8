"""What the commands that take files of declarations have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import click
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from gpuledger_collector.ledger.declared import DeclarationError
from gpuledger_collector.store.client import StoreConfig, StoreError, connect, one_line
from gpuledger_collector.store.migrate import require_current

FILE = click.argument("file", type=click.Path(path_type=Path))

Named = tuple[str, bool, Sequence[tuple[str, object, object]]]
"""Title of what changes, whether it is new, and its fields that differ: name, before, after."""


@contextmanager
def loading() -> Iterator[None]:
    """End the command with exit code 2 and a line for each problem of a file."""
    try:
        yield
    except DeclarationError as error:
        click.echo(str(error), err=True)
        click.get_current_context().exit(2)


@contextmanager
def reaching(store: StoreConfig) -> Iterator[Client]:
    """A connection to books of this version's schema; ClickHouse's errors become StoreError."""
    with connect(store) as client:
        try:
            require_current(client)
            yield client
        except ClickHouseError as error:
            raise StoreError(f"{store.url}: {one_line(error)}") from error


def echo_changes(changes: Sequence[Named], total: int) -> None:
    """Write what changes: + for new, ~ for changed, a line a field; and what stays."""
    for title, new, fields in changes:
        click.echo(f"{'+' if new else '~'} {title}")
        for name, before, after in fields:
            if not new:
                click.echo(f"    {name}: {_shown(before)} -> {_shown(after)}")
            elif after not in {"", None, title}:
                click.echo(f"    {name}: {_shown(after)}")
    if not changes:
        click.echo(f"no change: all {total} stand in the books as they are")


def _shown(value: object) -> str:
    if value is None or value == "":
        return "(none)"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else str(value)
