"""`gpuledger notify`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from gpuledger_agent.settings_file import Refused
from gpuledger_collector.commands.declare import FILE, loading
from gpuledger_collector.ledger.notify import config
from gpuledger_collector.ledger.notify.composing import Message
from gpuledger_collector.ledger.notify.fault import SendError
from gpuledger_collector.ledger.notify.notice import message_id
from gpuledger_collector.ledger.notify.wording import Wording, example


@click.group()
def notify() -> None:
    """Check and try who is told of findings: see docs/notifications.md."""


@notify.command()
@FILE
def check(file: Path) -> None:
    """Say what is wrong with a notify file and the files that it names. Sends nothing."""
    with loading():
        found = config.load(file)
    told = ", ".join(found.receivers) or "nobody"
    click.echo(f"{file}: {len(found.routes)} routes, nothing wrong; receivers: {told}")


@notify.command()
@click.argument("receiver")
@click.option(
    "--notify",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The notify file.",
)
def test(receiver: str, notify: Path) -> None:
    """Send a message that is marked as a test, once; exit code 1 if it is not taken.

    Example: gpuledger notify test chat --notify /etc/gpuledger/notify.toml
    """
    with loading():
        found = config.load(notify)
    if receiver not in found.receivers:
        raise Refused(
            f"{notify}: has no receiver {receiver!r}; take one of {', '.join(found.receivers)}"
        )
    now = time.time()
    notice = example(receiver, datetime.fromtimestamp(int(now), UTC))
    message = Message(message_id([receiver, str(now)]), (notice,))
    try:
        found.receivers[receiver].channel.send(message, Wording({}, found.link, test=True), now)
    except SendError as error:
        raise click.ClickException(f"{receiver}: {error.reason}") from error
    click.echo(f"{receiver} has taken it")
