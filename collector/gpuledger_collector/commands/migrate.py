"""`gpuledger migrate`."""

from __future__ import annotations

import sys
from typing import Any

import click
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from gpuledger_agent.settings_file import Refused
from gpuledger_collector import output
from gpuledger_collector.config import store_options
from gpuledger_collector.rollup_days import DayRollup
from gpuledger_collector.store import migrate as migrations
from gpuledger_collector.store import retention
from gpuledger_collector.store.client import StoreConfig, StoreError, connect, one_line
from gpuledger_collector.store.retention import Plan, Retention, RetentionError


def _duration(_: click.Context, parameter: click.Parameter, value: str | None) -> Retention | None:
    try:
        return None if value is None else retention.parse(value)
    except RetentionError as error:
        raise click.BadParameter(str(error), param=parameter) from error


_KEEP: dict[str, Any] = {"callback": _duration, "metavar": "DURATION", "show_default": "as it is"}


@click.command()
@store_options
@click.option("--retention-raw", help="How long windows are kept; at first 14d.", **_KEEP)
@click.option("--retention-hourly", help="How long hours are kept; at first 13mo.", **_KEEP)
@click.option("--retention-daily", help="How long days are kept; at first forever.", **_KEEP)
@click.option("--dry-run", is_flag=True, help="Only say what would be applied.")
@click.option("--status", is_flag=True, help="Only say what is applied; exit code 1 if not all.")
def migrate(
    store: StoreConfig,
    retention_raw: Retention | None,
    retention_hourly: Retention | None,
    retention_daily: Retention | None,
    dry_run: bool,
    status: bool,
) -> None:
    """Bring a database to the schema of this version. Run it again as often as you like.

    Durations are 14d, 6w, 13mo, 2y or forever; the database remembers them.

    Example: gpuledger migrate --clickhouse-url http://clickhouse:8123 --username admin
    """
    given = {"raw": retention_raw, "hourly": retention_hourly, "daily": retention_daily}
    wanted = {kind: kept for kind, kept in given.items() if kept is not None}
    with connect(store, create_database=not (dry_run or status)) as client:
        planned = _plan(client, wanted)
        if status:
            _show(client, planned)
        elif dry_run:
            steps = [step.name for step in migrations.status(client) if not step.applied]
            _say("would apply", steps + planned.names(), store)
        else:
            names = migrations.migrate(client)
            _say("applied", names + _retain(client, _plan(client, wanted)), store)


def _plan(client: Client, wanted: dict[str, Retention]) -> Plan:
    try:
        return retention.plan(client, wanted)
    except RetentionError as error:
        raise Refused(f"retention: {error}") from error


def _retain(client: Client, planned: Plan) -> list[str]:
    """Apply what is left to do; days that lose their hours are computed first."""
    hourly = planned.settings.get("hourly")
    if hourly and hourly.days:
        try:
            _roll_up_days(DayRollup(client), hourly.days)
        except ClickHouseError as error:
            raise StoreError(f"days that lose their hours: {one_line(error)}") from error
    retention.apply(client, planned)
    return planned.names()


def _roll_up_days(rollup: DayRollup, kept: int) -> None:
    leaving = rollup.leaving(kept)
    with click.progressbar(
        leaving, label="days that lose their hours", file=sys.stderr, hidden=not leaving
    ) as days:
        for day in days:
            rollup.roll_up(day)


def _show(client: Client, planned: Plan) -> None:
    steps = migrations.status(client)
    shown = [(step.name, "applied" if step.applied else "missing") for step in steps]
    shown += [(f"retention {kind}", planned.state(kind)) for kind in planned.current]
    output.show(["step", "state"], shown)
    lacking = planned.names() or not all(step.applied for step in steps)
    click.get_current_context().exit(int(bool(lacking)))


def _say(verb: str, names: list[str], store: StoreConfig) -> None:
    for name in names:
        click.echo(f"{verb} {name}")
    if not names:
        click.echo(f"{store.database} is up to date")
