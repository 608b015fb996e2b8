"""`gpuledger migrate`."""

from __future__ import annotations

import click

from gpuledger_collector import output
from gpuledger_collector.config import store_options
from gpuledger_collector.store import migrate as migrations
from gpuledger_collector.store.client import StoreConfig, connect


@click.command()
@store_options
@click.option("--dry-run", is_flag=True, help="Only say what would be applied.")
@click.option("--status", is_flag=True, help="Only say what is applied; exit code 1 if not all.")
def migrate(store: StoreConfig, dry_run: bool, status: bool) -> None:
    """Bring a database to the schema of this version. Run it again as often as you like.

    Example: gpuledger migrate --clickhouse-url http://clickhouse:8123 --username admin
    """
    with connect(store, create_database=not (dry_run or status)) as client:
        if status:
            steps = migrations.status(client)
            shown = [(s.name, "applied" if s.applied else "missing") for s in steps]
            output.show(["step", "state"], shown)
            click.get_current_context().exit(int(not all(s.applied for s in steps)))
        names = migrations.migrate(client, dry_run=dry_run)
    for name in names:
        click.echo(f"{'would apply' if dry_run else 'applied'} {name}")
    if not names:
        click.echo(f"{store.database} is up to date")
