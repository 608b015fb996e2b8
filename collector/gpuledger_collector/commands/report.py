"""`gpuledger report`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import click

from gpuledger_agent.settings_file import Refused
from gpuledger_collector.commands.declare import reaching
from gpuledger_collector.config import store_options
from gpuledger_collector.report.ask import UnknownTeamError, ask
from gpuledger_collector.report.model import Report
from gpuledger_collector.report.period import PeriodError, read_period
from gpuledger_collector.report.summary import nothing
from gpuledger_collector.report.write import write
from gpuledger_collector.store.client import StoreConfig

FORMATS = ("html", "markdown", "json", "csv")


@click.command()
@click.option("--since", default="7d", show_default=True, metavar="WHEN",
              help="Begin: 7d, 12h or 2w before the end, or 2026-01-31T08:00+01:00.")  # fmt: skip
@click.option("--until", metavar="WHEN", show_default="now",
              help="End: 2026-01-31 (its last moment, UTC) or 2026-01-31T08:00+01:00.")  # fmt: skip
@click.option("--team", default="", help="Only this team; unattributed: what nobody owns.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="html", show_default=True,
              help="A page, text for a wiki, or all figures for machines.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", show_default="stdout",
              help="Write here, all or nothing.")  # fmt: skip
@store_options
def report(
    since: str, until: str | None, team: str, form: str, output: Path | None, store: StoreConfig
) -> None:
    """The capacity review in one file: who asked for what, who used it, what changed.

    Every figure comes with the SQL that gives it.

    Example: gpuledger report --since 7d --output review.html
    """
    now = datetime.now(UTC)
    try:
        period = read_period(since, until, now)
    except PeriodError as error:
        raise Refused(str(error)) from error
    render = _renderer(form)
    with reaching(store) as client:
        try:
            found = ask(client, period, team, now)
        except UnknownTeamError as error:
            raise Refused(str(error)) from error
    if found.whole() is None:
        click.echo(f"gpuledger: {nothing(found)}", err=True)
    write(render(found), output)


def _renderer(form: str) -> Callable[[Report], str]:
    """What makes the text; loaded only now, as a page needs more than the collector."""
    # Where no cache can be kept, matplotlib says so every time; a report is made all the same.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        module = import_module(f"gpuledger_collector.report.as_{form}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gpuledger_collector"):
            raise
        raise click.ClickException(
            f"{error.name} is not installed: pip install 'gpuledger[report]',"
            " or take --format markdown"
        ) from error
    render: Callable[[Report], str] = module.render
    return render
