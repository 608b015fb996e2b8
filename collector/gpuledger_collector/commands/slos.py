"""`gpuledger slos`."""

from __future__ import annotations

import click

from gpuledger_collector.commands.declare import add_commands
from gpuledger_collector.ledger.slos import BOOK


@click.group()
def slos() -> None:
    """Declare what endpoints must achieve, in a YAML or CSV file that people review.

    Example: gpuledger slos apply slos.yaml
    """


add_commands(slos, BOOK)
