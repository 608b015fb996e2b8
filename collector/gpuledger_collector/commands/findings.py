"""`gpuledger findings`."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from clickhouse_connect.driver.client import Client

from gpuledger_agent.settings_file import Refused
from gpuledger_collector import output
from gpuledger_collector.commands.declare import loading, reaching
from gpuledger_collector.config import rules_option, store_options
from gpuledger_collector.ledger import acks
from gpuledger_collector.ledger import findings as ledger
from gpuledger_collector.ledger import rules as rule_files
from gpuledger_collector.store.client import StoreConfig

_COLUMNS = ("id", "severity", "rule", "team", "pool", "subject", "usd", "state", "first_seen")
_MORE = ("last_seen", "resolved_at", "acked_until", "acked_by", "ack_reason", "evidence")

_FORMAT = click.option("--format", "form", type=click.Choice(output.FORMATS), default="table",
                       show_default=True, help="How to print the rows.")  # fmt: skip
_ID = click.argument("finding", metavar="ID")


@click.group(invoke_without_command=True)
@store_options
@rules_option
@_FORMAT
@click.option("--team", help="Only what this team can act on.")
@click.option("--severity", type=click.Choice(rule_files.SEVERITIES), default="info",
              show_default=True, help="Only what is at least as urgent.")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Acknowledged and resolved ones too.")
@click.pass_context
def findings(
    context: click.Context,
    store: StoreConfig,
    rules_config: Path | None,
    form: str,
    team: str | None,
    severity: str,
    everything: bool,
) -> None:
    """What should be acted on now, worst money (USD a week) first; exit code 1 if anything is open.

    Example: gpuledger findings --team search --severity warning
    """  # fmt: skip
    with loading():  # what is wrong with the file is said, whether it counts here or not
        rule_files.load(rules_config)
    if context.invoked_subcommand is not None:
        # What stands before a subcommand counts for it too.
        context.default_map = dict.fromkeys(_SUBCOMMANDS, context.params)
        return
    with reaching(store) as client:
        rows = _select(client, team, severity, everything=everything)
    names = _COLUMNS if form == "table" else _COLUMNS + _MORE
    output.show(names, [[_shown(row[name], form) for name in names] for row in rows], form)
    context.exit(int(any(row["state"] == "open" for row in rows)))


@findings.command()
@_ID
@store_options
@rules_option
def show(finding: str, store: StoreConfig, rules_config: Path | None) -> None:
    """All about one finding: its evidence, and what to do."""
    with loading():
        known = {rule.name: rule for rule in rule_files.load(rules_config)}
    with reaching(store) as client:
        row = _known(client, finding)
    evidence = row.pop("evidence")
    facts = [(name, value) for name, value in row.items() if value not in {None, ""}]
    rule = known.get(row["rule"])
    if rule is not None:
        click.echo(f"{rule.description}\n{rule.remedy}\n")
    output.show(("", ""), facts + sorted(evidence.items()))


@findings.command()
@rules_option
@_FORMAT
def rules(rules_config: Path | None, form: str) -> None:
    """List the rules with their thresholds. Needs no database."""
    with loading():
        found = rule_files.load(rules_config)
    rows = [
        (
            rule.name,
            rule.severity if rule.enabled else "off",
            threshold.name,
            threshold.value,
            threshold.unit,
            threshold.meaning,
        )
        for rule in found
        for threshold in rule.thresholds
    ]
    output.show(("rule", "severity", "threshold", "value", "unit", "meaning"), rows, form)


@findings.command()
@store_options
@rules_option
@_FORMAT
def evaluate(store: StoreConfig, rules_config: Path | None, form: str) -> None:
    """Evaluate all rules now; exit code 1 if one of them fails."""
    with loading():
        found = rule_files.load(rules_config)
    with reaching(store) as client:
        outcomes = ledger.evaluate(client, found)
    names = ("rule", "found", "opened", "resolved", "error")
    output.show(names, [[getattr(o, name) for name in names] for o in outcomes], form)
    click.get_current_context().exit(int(any(o.error for o in outcomes)))


@findings.command()
@_ID
@store_options
@click.option("--reason", required=True, help="Why nothing is to be done until then.")
@click.option(
    "--until",
    required=True,
    metavar="WHEN",
    help="2026-01-31 (its end, UTC), 2026-01-31T08:00+01:00, 30d or 12h.",
)
@click.option(
    "--by", default=getpass.getuser, show_default="who runs this", help="Who answers for it."
)
def ack(finding: str, store: StoreConfig, reason: str, until: str, by: str) -> None:
    """Acknowledge a finding: it rests until then, even if it goes and comes back."""  # fmt: skip
    now = datetime.now(UTC)
    try:
        moment = acks.read_until(until, now)
    except (ValueError, OverflowError) as error:
        raise Refused(f"--until {until}: is no time; write 2026-01-31 or 30d") from error
    if not now < moment < datetime(2100, 1, 1, tzinfo=UTC):
        raise Refused(f"--until {until}: is past or beyond 2099; gpuledger findings unack ends one")
    if not reason.strip():
        raise Refused("--reason: is empty; say why nothing is to be done")
    with reaching(store) as client:
        subject = _known(client, finding)["subject"]
        acks.acknowledge(client, finding, moment, by, reason)
    click.echo(f"{finding} ({subject}) rests until {moment:%Y-%m-%d %H:%M:%S} UTC")


@findings.command()
@_ID
@store_options
@click.option("--by", default=getpass.getuser, show_default="who runs this")
def unack(finding: str, store: StoreConfig, by: str) -> None:
    """End an acknowledgement before its time."""
    with reaching(store) as client:
        subject = _known(client, finding)["subject"]
        acks.acknowledge(client, finding, datetime.now(UTC), by, "")
    click.echo(f"{finding} ({subject}) asks to be acted on again")


_SUBCOMMANDS = ("show", "rules", "evaluate", "ack", "unack")


def _select(
    client: Client, team: str | None, severity: str, *, everything: bool
) -> list[dict[str, Any]]:
    rows = client.query(
        "SELECT * FROM findings WHERE severity >= {severity:String}"
        " AND (isNull({team:Nullable(String)}) OR team = {team:Nullable(String)})"
        " AND ({everything:UInt8} OR state = 'open')"
        " ORDER BY state = 'open' DESC, usd DESC NULLS LAST, severity DESC, first_seen, id",
        parameters={"severity": severity, "team": team, "everything": int(everything)},
        query_tz="UTC",
        tz_mode="aware",
    ).named_results()
    return [dict(row) for row in rows]


def _known(client: Client, finding: str) -> dict[str, Any]:
    try:
        return acks.find(client, finding)
    except acks.UnknownFindingError as error:
        raise Refused(str(error)) from error


def _shown(value: Any, form: str) -> Any:
    return json.dumps(value, sort_keys=True) if form == "csv" and isinstance(value, dict) else value
