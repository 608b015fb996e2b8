"""The commands that every book of declarations has: validate, diff, apply, export, schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import click
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from gpuledger_collector.config import store_options
from gpuledger_collector.ledger.book import Book, Change, Record
from gpuledger_collector.ledger.declared import DeclarationError
from gpuledger_collector.ledger.export import FORMATS, export
from gpuledger_collector.store.client import StoreConfig, StoreError, connect, one_line, remedy
from gpuledger_collector.store.migrate import require_current

FILE = click.argument("file", type=click.Path(path_type=Path))


def add_commands(group: click.Group, book: Book[Record]) -> None:
    """Give a group the commands of its book."""
    for make in (_validate, _diff, _apply, _export, _schema):
        group.add_command(make(book))


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
            raise StoreError(f"{store.url}: {one_line(error)}{remedy(error)}") from error


def _validate(book: Book[Record]) -> click.Command:
    @click.command()
    @FILE
    def validate(file: Path) -> None:
        """Say what is wrong with a file. Needs no database."""
        with loading():
            found = book.load(file)
        click.echo(f"{file}: {len(found)} {book.name}, nothing wrong")

    return validate


def _diff(book: Book[Record]) -> click.Command:
    @click.command()
    @FILE
    @store_options
    def diff(file: Path, store: StoreConfig) -> None:
        """Say what applying a file would change; exit code 1 if anything."""
        with loading():
            found = book.load(file)
        with reaching(store) as client:
            changes = book.diff(client, found)
        _echo(changes, len(found))
        click.get_current_context().exit(int(bool(changes)))

    return diff


def _apply(book: Book[Record]) -> click.Command:
    @click.command()
    @FILE
    @store_options
    @click.option("--dry-run", is_flag=True, help="Only say what would change.")
    def apply(file: Path, store: StoreConfig, dry_run: bool) -> None:
        """Write a file into the books. What it leaves out stays as it is; history is kept."""
        with loading():
            found = book.load(file)
        with reaching(store) as client:
            changes = book.diff(client, found) if dry_run else book.apply(client, found)
        _echo(changes, len(found))
        if changes:
            done = "would be applied" if dry_run else "applied"
            click.echo(f"{len(changes)} of {len(found)} {book.name} {done}")

    return apply


def _export(book: Book[Record]) -> click.Command:
    @click.command("export")
    @store_options
    @click.option("--format", "form", type=click.Choice(FORMATS), default="yaml",
                  show_default=True, help="How to write the file.")  # fmt: skip
    def command(store: StoreConfig, form: str) -> None:
        """Write what the books hold now, as a file that apply takes."""
        with reaching(store) as client:
            click.echo(export(book, book.read_current(client), form), nl=False)

    return command


def _schema(book: Book[Record]) -> click.Command:
    @click.command()
    def schema() -> None:
        """Write the JSON Schema of such files, for editors and CI."""
        click.echo(json.dumps(book.schema(), indent=2))

    return schema


def _echo(changes: Sequence[Change[Record]], total: int) -> None:
    """Write what changes: + for new, ~ for changed, a line a field; and what stays."""
    for change in changes:
        new, title = change.before is None, change.after.title
        click.echo(f"{'+' if new else '~'} {title}")
        for name, before, after in change.differences():
            if not new:
                click.echo(f"    {name}: {shown(before)} -> {shown(after)}")
            elif after not in {"", None, title}:
                click.echo(f"    {name}: {shown(after)}")
    if not changes:
        click.echo(f"no change: all {total} stand in the books as they are")


def shown(value: object) -> str:
    """A value for people."""
    if value is None or value == "":
        return "(none)"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else str(value)
