"""Findings: rules are evaluated, and what they find opens, stays and resolves by itself.

Any number of collectors may evaluate at the same time. Each evaluation carries the moment at which
it began, by the clock of ClickHouse, and nothing that a later one has judged is touched by an
earlier one that is slow. A finding that stays keeps its first_seen; one that comes back begins
a new row, so that history stays.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from gpuledger_collector.ledger.rules import Rule
from gpuledger_collector.store.client import answered, one_line

log = logging.getLogger(__name__)

EVERY_S = 300.0
"""Between scheduled evaluations."""

_SETTINGS = {"max_execution_time": 60, "readonly": 2}


@dataclass(frozen=True, slots=True)
class Version:
    """What one evaluation says of one finding: a row of `finding_versions`. Times in UTC."""

    rule: str
    subject: str
    first_seen: datetime
    evaluated_at: datetime
    severity: str
    team: str
    pool: str
    usd: float | None
    evidence: dict[str, str]
    last_seen: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a rule: how much it found, what opened and resolved; or why it failed."""

    rule: str
    found: int = 0
    opened: int = 0
    resolved: int = 0
    error: str = ""


_NAMES = [field.name for field in fields(Version)]


def evaluate(client: Client, rules: Iterable[Rule], at: datetime | None = None) -> list[Outcome]:
    """Evaluate rules as of `at`, now by default. Raises ClickHouseError if it cannot be reached.

    The findings of a rule are written in one insert. A rule that fails leaves its findings alone.
    """
    if at is None:
        [(at,)] = _rows(client, "SELECT now64(6, 'UTC')")
    outcomes = [_evaluate_one(client, rule, at) for rule in rules]
    client.insert(
        "rule_evaluations",
        [(outcome.rule, at, outcome.found, outcome.error) for outcome in outcomes],
        column_names=["rule", "evaluated_at", "found", "error"],
    )
    return outcomes


def judge(found: Sequence[Version], known: Sequence[Version], at: datetime) -> list[Version]:
    """What is to be written of one rule: what it found at `at`, and what it found no more.

    `known` are all versions that are open or not older than `at`.
    """
    judged = {version.subject for version in known if version.evaluated_at >= at}
    standing = [v for v in known if v.resolved_at is None and v.subject not in judged]
    begun = {v.subject: v.first_seen for v in sorted(standing, key=_first_seen, reverse=True)}
    present = {v.subject: v for v in found if v.subject not in judged}
    stays = [replace(v, first_seen=begun.get(v.subject, v.first_seen)) for v in present.values()]
    second = at.replace(microsecond=0)
    gone = [
        replace(v, evaluated_at=at, resolved_at=second)
        for v in standing
        if v.subject not in present
    ]
    return stays + gone


class Schedule:
    """Evaluates rules at multiples of `every_s`: once, however many collectors are at it."""

    def __init__(self, client: Client, rules: Sequence[Rule], every_s: float = EVERY_S) -> None:
        self._client = client
        self._rules = rules
        self._every = timedelta(seconds=every_s)

    def run(self, stop: threading.Event) -> None:
        """Evaluate until `stop` is set. Raises ClickHouseError if ClickHouse goes away."""
        while not stop.is_set():
            stop.wait(self.run_once(stop))

    def run_once(self, stop: threading.Event | None = None) -> float:
        """Evaluate, unless somebody did since the last multiple; return seconds to the next.

        When `stop` is set, the rules that are left wait for the next time.
        """
        now: datetime
        [(now, last)] = _rows(
            self._client, "SELECT now64(6, 'UTC'), max(evaluated_at) FROM rule_evaluations"
        )
        due = now - (now - datetime.fromtimestamp(0, UTC)) % self._every
        if last < due:
            going = takewhile(lambda _: stop is None or not stop.is_set(), self._rules)
            evaluate(self._client, going, due)
        return (due + self._every - now).total_seconds()


def _evaluate_one(client: Client, rule: Rule, at: datetime) -> Outcome:
    try:
        found = _find(client, rule, at) if rule.enabled else []
    except ClickHouseError as error:
        if not answered(error):
            raise
        log.warning("event=rule_failed rule=%s reason=%r", rule.name, one_line(error))
        return Outcome(rule.name, error=one_line(error))
    known = _known(client, rule, at)
    versions = judge(found, known, at)
    if versions:
        client.insert("finding_versions", [astuple(v) for v in versions], column_names=_NAMES)
    opened = [v for v in versions if v.first_seen == at.replace(microsecond=0)]
    resolved = [v for v in versions if v.resolved_at is not None]
    for version in opened:
        log.info("event=finding_opened rule=%s subject=%r", rule.name, version.subject)
    for version in resolved:
        log.info("event=finding_resolved rule=%s subject=%r", rule.name, version.subject)
    return Outcome(rule.name, len(found), len(opened), len(resolved))


def _find(client: Client, rule: Rule, at: datetime) -> list[Version]:
    second = at.replace(microsecond=0)
    parameters = {**rule.parameters(), "now": second}
    result = client.query(rule.sql, parameters=parameters, settings=_SETTINGS)
    return [
        Version(
            rule=rule.name,
            subject=row["subject"],
            first_seen=second,
            evaluated_at=at,
            severity=rule.severity,
            team=row["team"],
            pool=row["pool"],
            usd=row["usd"],
            # What is not known is not evidence.
            evidence={name: told for name, told in row["evidence"].items() if told},
            last_seen=second,
            resolved_at=None,
        )
        for row in result.named_results()
    ]


def _known(client: Client, rule: Rule, at: datetime) -> list[Version]:
    rows = _rows(
        client,
        f"SELECT {', '.join(_NAMES)} FROM finding_versions FINAL"  # noqa: S608 - names of fields
        " WHERE rule = {rule:String}"
        " AND (resolved_at IS NULL OR evaluated_at >= {at:DateTime64(6, 'UTC')})",
        rule=rule.name,
        at=at,
    )
    return [Version(*row) for row in rows]


def _first_seen(version: Version) -> datetime:
    return version.first_seen


def _rows(client: Client, sql: str, **parameters: Any) -> Sequence[Any]:
    result = client.query(sql, parameters=parameters, query_tz="UTC", tz_mode="aware")
    return list(result.result_rows)
