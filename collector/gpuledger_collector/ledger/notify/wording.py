"""What messages say, as plain text: each channel escapes it as its receiver needs."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from gpuledger_agent.text import one_line
from gpuledger_collector.ledger.notify.notice import OPENED, RESOLVED, Notice
from gpuledger_collector.ledger.rules import Rule
from gpuledger_collector.moments import shown

MAX_TEXT = 300
"""Characters of a text that a team or a host chose."""

WHO = ("team", "model", "endpoint", "pool")

TEST = "TEST, nothing was found: "
"""How a test message begins."""


@dataclass(frozen=True, slots=True)
class Wording:
    """What stands in messages beside the notice: the rules' texts, and where people can look.

    `link` holds `{finding}` where the id belongs; "": no link.
    """

    rules: Mapping[str, Rule]
    link: str = ""
    test: bool = False

    def mark(self) -> str:
        """What a test begins with; else nothing."""
        return TEST if self.test else ""

    def title(self, notice: Notice) -> str:
        """One line: what happened, how urgent, which rule, about what."""
        return f"{self.mark()}{headline(notice)}, {clean(notice.subject)}"

    def summary(self, notices: Sequence[Notice]) -> str:
        """One line about several notices."""
        counts = Counter(notice.change for notice in notices)
        told = ", ".join(f"{count} {change}" for change, count in counts.items())
        return f"{self.mark()}{len(notices)} findings: {told}"

    def what(self, notice: Notice) -> str:
        """What the rule is about; "" if this version does not know it."""
        rule = self.rules.get(notice.rule)
        return rule.description if rule else ""

    def remedy(self, notice: Notice) -> str:
        """What to do; "" if it is resolved or not known."""
        rule = self.rules.get(notice.rule)
        return rule.remedy if rule and notice.change != RESOLVED else ""

    def link_to(self, notice: Notice) -> str:
        """Where people can look; "" for nowhere."""
        return self.link.replace("{finding}", quote(notice.finding, safe=""))


def headline(notice: Notice) -> str:
    """What happened, how urgent, and which rule says so: nothing that a stranger wrote."""
    severity, before = notice.severity, notice.severity_before
    if before not in {"", severity}:
        severity = f"{before} to {severity}"
    return f"{notice.change} ({severity}): {notice.rule}"


def who(notice: Notice) -> dict[str, str]:
    """Team, model, endpoint and pool, as far as they are known."""
    known = {"team": notice.team, "pool": notice.pool}
    found = {name: known.get(name) or notice.evidence.get(name, "") for name in WHO}
    return {name: clean(value) for name, value in found.items() if value}


def facts(notice: Notice) -> dict[str, str]:
    """Whom it concerns, the money, the evidence, and since when; by name, in this order."""
    evidence = {clean(k): clean(v) for k, v in sorted(notice.evidence.items()) if k not in WHO}
    times = {"since": shown(notice.first_seen)}
    if notice.resolved_at is not None:
        times["resolved"] = shown(notice.resolved_at)
    return {**who(notice), **money(notice), **evidence, **times}


def money(notice: Notice) -> dict[str, str]:
    """USD a week, if known."""
    return {} if notice.usd is None else {"usd_per_week": f"{notice.usd:,.2f}"}


def short(notice: Notice) -> str:
    """Whom a notice among others concerns, and its money, on one line."""
    told = {**who(notice), **money(notice)}
    return ", ".join(f"{name} {value}" for name, value in told.items())


def commands(notice: Notice) -> dict[str, str]:
    """What to type to see more, and to acknowledge; the latter only while it is open."""
    finding = shlex.quote(notice.finding)
    found = {"show": f"gpuledger findings show {finding}"}
    if notice.change != RESOLVED:
        found["acknowledge"] = (
            f'gpuledger findings ack {finding} --reason "why nothing is to be done" --until 7d'
        )
    return found


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Text of strangers: on one line, nothing in it that does not print, and not too long."""
    line = one_line(text[: limit + 1])
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def example(receiver: str, at: datetime) -> Notice:
    """The notice of a test message."""
    return Notice(
        receiver=receiver,
        finding="0000000000000000",
        first_seen=at,
        number=1,
        change=OPENED,
        rule="test",
        subject=f"notifications reach {receiver}",
        severity="info",
        severity_before="",
        team="test",
        pool="",
        usd=0.0,
        evidence={"requested_gpus": "8", "used_gpus_p95": "2"},
        resolved_at=None,
        noticed_at=at,
        join_key="",
    )
