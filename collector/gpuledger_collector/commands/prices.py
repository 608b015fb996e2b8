"""`gpuledger prices`."""

from __future__ import annotations

import click

from gpuledger_collector.commands.declare import add_commands
from gpuledger_collector.ledger.prices import BOOK


@click.group()
def prices() -> None:
    """Declare what GPU time costs, in a YAML or CSV file.

    Example: gpuledger prices apply prices.yaml
    """


add_commands(prices, BOOK)
