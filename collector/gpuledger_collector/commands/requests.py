"""`gpuledger requests`."""

from __future__ import annotations

from pathlib import Path

import click

from gpuledger_collector.commands.declare import FILE, echo_changes, loading, reaching
from gpuledger_collector.config import store_options
from gpuledger_collector.ledger import requests as ledger
from gpuledger_collector.store.client import StoreConfig


@click.group()
def requests() -> None:
    """Declare who asked for how many GPUs, in a YAML or CSV file that people review.

    Example: gpuledger requests apply requests.yaml
    """


@requests.command()
@FILE
def validate(file: Path) -> None:
    """Say what is wrong with a file. Needs no database."""
    with loading():
        found = ledger.load(file)
    click.echo(f"{file}: {len(found)} requests, nothing wrong")


@requests.command()
@FILE
@store_options
def diff(file: Path, store: StoreConfig) -> None:
    """Say what applying a file would change; exit code 1 if anything."""
    with loading():
        found = ledger.load(file)
    with reaching(store) as client:
        changes = ledger.diff(client, found)
    _echo(changes, len(found))
    click.get_current_context().exit(int(bool(changes)))


@requests.command()
@FILE
@store_options
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
def apply(file: Path, store: StoreConfig, dry_run: bool) -> None:
    """Write a file's requests into the books. Those that are not in it stay as they are.

    To end a request, set its status to withdrawn; history is kept.
    """
    with loading():
        found = ledger.load(file)
    with reaching(store) as client:
        changes = ledger.diff(client, found) if dry_run else ledger.apply(client, found)
    _echo(changes, len(found))
    if changes:
        done = "would be applied" if dry_run else "applied"
        click.echo(f"{len(changes)} of {len(found)} requests {done}")


def _echo(changes: list[ledger.Change], total: int) -> None:
    named = [(c.after.id, c.before is None, c.differences()) for c in changes]
    echo_changes(named, total)
