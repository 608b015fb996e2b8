"""`gpuledger prices`."""

from __future__ import annotations

from pathlib import Path

import click

from gpuledger_collector.commands.declare import FILE, echo_changes, loading, reaching
from gpuledger_collector.config import store_options
from gpuledger_collector.ledger import prices as ledger
from gpuledger_collector.store.client import StoreConfig


@click.group()
def prices() -> None:
    """Declare what GPU time costs, in a YAML or CSV file.

    Example: gpuledger prices apply prices.yaml
    """


@prices.command()
@FILE
@store_options
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
def apply(file: Path, store: StoreConfig, dry_run: bool) -> None:
    """Write a file's prices into the books. Those that are not in it stay as they are."""
    with loading():
        found = ledger.load(file)
    with reaching(store) as client:
        changes = ledger.diff(client, found) if dry_run else ledger.apply(client, found)
    named = [(c.after.title, c.before is None, c.differences()) for c in changes]
    echo_changes(named, len(found))
    if changes:
        done = "would be applied" if dry_run else "applied"
        click.echo(f"{len(changes)} of {len(found)} prices {done}")
