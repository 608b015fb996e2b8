"""What is to be told, given what stands in the books and what was told: pure, so repeatable."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gpuledger_collector.ledger.notify.notice import (
    AT_ONCE,
    FAILED,
    OPENED,
    RESOLVED,
    WAITING,
    Finding,
    Notice,
    step,
)


@dataclass(frozen=True, slots=True)
class Target:
    """A receiver that a finding is routed to, and what it is told there together with."""

    receiver: str
    join_key: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """The latest notice of a finding to a receiver; `heard` if any was sent or still may be."""

    last: Notice
    heard: bool


Router = Callable[[Finding], Sequence[Target]]


def plan(
    found: Sequence[Finding], told: Sequence[Told], route: Router, at: datetime
) -> list[Notice]:
    """The notices that are new at `at`, in the order in which they are to be told.

    `found` are findings that are open, and those that `told` is about; `told` leaves out what ended
    with a notice of resolution.
    """
    resolved = {(f.id, f.first_seen): f for f in found if f.resolved_at is not None}
    standing: dict[str, dict[str, Told]] = defaultdict(dict)
    fresh = []
    for each in told:
        end = resolved.get((each.last.finding, each.last.first_seen))
        if end is None:
            # Two evaluations at once may both have begun it: the finding is the same.
            standing[each.last.finding][each.last.receiver] = each
        else:
            fresh.append(_end(each, end, at))
    for finding in found:
        if finding.state == "open":
            fresh += _open(finding, standing[finding.id], route, at)
    return fresh


def _open(finding: Finding, told: dict[str, Told], route: Router, at: datetime) -> Iterator[Notice]:
    for each in told.values():
        if each.last.severity != finding.severity:
            yield _next(each.last, finding, step(each.last.severity, finding.severity), at)
    for target in route(finding):
        if target.receiver not in told:
            yield _first(finding, target, at)


def _first(finding: Finding, target: Target, at: datetime) -> Notice:
    return Notice(
        receiver=target.receiver,
        finding=finding.id,
        first_seen=finding.first_seen,
        number=1,
        change=OPENED,
        rule=finding.rule,
        subject=finding.subject,
        severity=finding.severity,
        severity_before="",
        team=finding.team,
        pool=finding.pool,
        usd=finding.usd,
        evidence=finding.evidence,
        resolved_at=None,
        noticed_at=at,
        join_key=target.join_key,
    )


def _next(last: Notice, finding: Finding, change: str, at: datetime) -> Notice:
    """Team and pool stay as they were told: to the receiver they are part of what it is about."""
    return replace(
        last,
        number=last.number + 1,
        change=change,
        severity=finding.severity,
        severity_before=last.severity,
        usd=finding.usd,
        evidence=finding.evidence,
        resolved_at=finding.resolved_at,
        noticed_at=at,
        message="",
        state=WAITING,
        attempts=0,
        not_before=AT_ONCE,
        fault="",
    )


def _end(told: Told, finding: Finding, at: datetime) -> Notice:
    notice = _next(told.last, replace(finding, severity=told.last.severity), RESOLVED, at)
    if told.heard:
        return notice
    return replace(notice, state=FAILED, fault="nothing of it was ever told")
