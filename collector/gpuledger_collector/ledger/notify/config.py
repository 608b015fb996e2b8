"""The notify file: who is told, and of what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpuledger_agent import toml
from gpuledger_collector.ledger.declared import DeclarationError, Problems, read_text
from gpuledger_collector.ledger.notify.channel import Channel
from gpuledger_collector.ledger.notify.fault import SendError
from gpuledger_collector.ledger.notify.kinds import KINDS
from gpuledger_collector.ledger.notify.notice import Finding
from gpuledger_collector.ledger.notify.planning import Target
from gpuledger_collector.ledger.notify.table import Table, lines_of
from gpuledger_collector.ledger.notify.wording import clean
from gpuledger_collector.ledger.rules import SEVERITIES, built_in

JOINABLE = ("team", "rule", "pool")
"""What `group_by` may name: what stays the same in the life of a finding."""

BURST = 10
PER_MINUTE = 6.0

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEYS = ("receiver", "route", "default", "link")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is told: `burst` messages at once, then `per_minute`."""

    name: str
    channel: Channel
    burst: int = BURST
    per_minute: float = PER_MINUTE


@dataclass(frozen=True, slots=True)
class Route:
    """Which findings go to which receivers. An empty condition holds for all."""

    receivers: tuple[str, ...]
    teams: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    severity: str = SEVERITIES[0]
    group_by: tuple[str, ...] = ()

    def matches(self, finding: Finding) -> bool:
        """Whether all its conditions hold."""
        return (
            (not self.teams or finding.team in self.teams)
            and (not self.pools or finding.pool in self.pools)
            and (not self.rules or finding.rule in self.rules)
            and SEVERITIES.index(finding.severity) >= SEVERITIES.index(self.severity)
        )

    def targets(self, finding: Finding) -> list[Target]:
        """Where it goes, and in which group."""
        values = [getattr(finding, name) for name in self.group_by]
        join_key = "\0".join([*self.group_by, *values])
        return [Target(receiver, join_key) for receiver in self.receivers]


@dataclass(frozen=True, slots=True)
class NotifyConfig:
    """What a notify file says. The last route matches all."""

    receivers: Mapping[str, Receiver] = field(default_factory=dict)
    routes: tuple[Route, ...] = (Route(()),)
    link: str = ""

    def route(self, finding: Finding) -> Sequence[Target]:
        """The targets of the first route that matches."""
        return next(r.targets(finding) for r in self.routes if r.matches(finding))


def load(path: Path | None) -> NotifyConfig:
    """What the file says; nobody is told without one. Raises DeclarationError: all its faults."""
    if path is None:
        return NotifyConfig()
    problems = Problems(path)
    text = read_text(path, problems)
    document = _document(text, problems)
    tables = _Tables(problems, lines_of(text))
    for key in document.keys() - set(_KEYS):
        tables.make("", {}).fault(key, f"is no setting; take one of {', '.join(_KEYS)}")
    receivers = _receivers(document.get("receiver", {}), tables)
    top = tables.make("", {key: document[key] for key in document.keys() & {"link"}})
    link = top.text("link")
    if link and not re.match("https?://", link):
        top.fault("link", "is no URL; write https://... with {finding} where the id belongs")
    routes = _routes(document, tables)
    problems.raise_any()
    return NotifyConfig(receivers, routes, link)


@dataclass(frozen=True, slots=True)
class _Tables:
    """Makes tables that know their lines."""

    problems: Problems
    lines: Mapping[str, Mapping[str, int]]

    def make(self, place: str, values: Mapping[str, object]) -> Table:
        return Table(place, values, self.problems, self.lines.get(place, {}))


def _document(text: str, problems: Problems) -> dict[str, object]:
    try:
        return toml.loads(text)
    except ValueError as error:
        problems.add(0, f"is not TOML: {' '.join(str(error).split())[:200]}; correct it")
        raise DeclarationError(f"{problems.path}: {what}" for _, what in problems.found) from None


def _receivers(given: object, tables: _Tables) -> dict[str, Receiver]:
    if not isinstance(given, dict) or not all(isinstance(v, dict) for v in given.values()):
        tables.make("", {}).fault("receiver", "is no table of receivers; write [receiver.NAME]")
        return {}
    found = {}
    for name, values in given.items():
        table = tables.make(f"[receiver.{clean(name)}]", values)
        if not _NAME.fullmatch(name):
            table.fault("", "has a name that cannot be; take letters, digits, _ and -")
        found[name] = _receiver(name, table)
    return {name: receiver for name, receiver in found.items() if receiver}


def _receiver(name: str, table: Table) -> Receiver | None:
    kind = table.text("type", required=True)
    if kind not in KINDS:
        if kind:
            table.fault("type", f"{clean(kind)!r} is not known; take one of {', '.join(KINDS)}")
        return None
    before = len(table.problems.found)
    channel = KINDS[kind](table)
    burst = table.whole("burst", BURST, 1, 1000)
    per_minute = table.number("per_minute", PER_MINUTE, 0.01, 6000)
    table.end()
    if len(table.problems.found) == before:
        try:
            channel.check()
        except SendError as error:
            table.fault("", f"{error.reason}; correct it")
    return Receiver(name, channel, burst, per_minute)


def _routes(document: Mapping[str, object], tables: _Tables) -> tuple[Route, ...]:
    given, named = document.get("route", []), document.get("receiver")
    receivers = sorted(named) if isinstance(named, dict) else []
    top = tables.make("", {})
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        top.fault("route", "is no list of routes; write [[route]]")
        given = []
    default = document.get("default")
    if not isinstance(default, dict):
        top.fault("default", "is missing; write [default] and receivers, [] for nobody")
        default = {"receivers": []}
    routes = [
        _route(tables.make(f"[[route]] {number}", each), receivers, conditions=True)
        for number, each in enumerate(given, 1)
    ]
    return (*routes, _route(tables.make("[default]", default), receivers, conditions=False))


def _route(table: Table, receivers: Sequence[str], *, conditions: bool) -> Route:
    to = table.texts("receivers", None)
    _all_of(table, "receivers", to, receivers)
    group_by = table.texts("group_by")
    _all_of(table, "group_by", group_by, JOINABLE)
    if not conditions:
        table.end()
        return Route(to, group_by=group_by)
    rules = table.texts("rules")
    _all_of(table, "rules", rules, [rule.name for rule in built_in()])
    teams, pools = table.texts("teams"), table.texts("pools")
    severity = table.choice("severity", SEVERITIES[0], SEVERITIES)
    table.end()
    return Route(to, teams, pools, rules, severity, group_by)


def _all_of(table: Table, key: str, values: Sequence[str], known: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            table.fault(
                key, f"{clean(value)!r} is not known; take of {', '.join(known) or '(none)'}"
            )
