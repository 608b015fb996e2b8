"""`gpuledger requests`."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from gpuledger_agent.settings_file import Refused
from gpuledger_collector import output
from gpuledger_collector.commands.declare import add_commands, reaching, shown
from gpuledger_collector.config import store_options
from gpuledger_collector.ledger import history as ledger
from gpuledger_collector.ledger.requests import BOOK
from gpuledger_collector.store.client import StoreConfig


@click.group()
def requests() -> None:
    """Declare who asked for how many GPUs, in a YAML or CSV file that people review.

    Example: gpuledger requests apply requests.yaml
    """


add_commands(requests, BOOK)


@requests.command()
@click.argument("id", required=False, default="")
@click.option("--at", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]),
              help="What counted as requested at this moment, UTC.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(output.FORMATS), default="table",
              show_default=True, help="How to print the rows.")  # fmt: skip
@store_options
def history(id: str, at: datetime | None, form: str, store: StoreConfig) -> None:  # noqa: A002
    """Say what changed when: of one request or of all; or what counted at a moment.

    Example: gpuledger requests history --at 2026-01-31T12:00
    """
    with reaching(store) as client:
        if at is not None:
            rows = ledger.counted_at(client, at.replace(tzinfo=UTC))
            rows = [row for row in rows if id in {"", row[0]}]
            output.show(ledger.COUNTED_COLUMNS, rows, form)
            return
        rows = ledger.changes(client, id)
    if id and not rows:
        raise Refused(f"no request {id!r} in the books: see gpuledger requests export")
    if form == "table":
        rows = [(*row[:3], shown(row[3]), shown(row[4])) for row in rows]
    output.show(ledger.CHANGE_COLUMNS, rows, form)
