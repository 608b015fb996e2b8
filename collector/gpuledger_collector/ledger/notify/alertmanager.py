"""Alertmanager's API v2: what is open is told again and again, or it would expire there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from gpuledger_collector.ledger.notify.composing import Message
from gpuledger_collector.ledger.notify.endpoint import Endpoint
from gpuledger_collector.ledger.notify.notice import Notice
from gpuledger_collector.ledger.notify.table import Table
from gpuledger_collector.ledger.notify.wording import (
    Wording,
    clean,
    commands,
    facts,
    money,
    who,
)
from gpuledger_collector.moments import shown

PATH = "/api/v2/alerts"

RENEW_S = 60.0

LASTS = 4
"""Times `renew_s` for which an alert stays if nobody renews it; Prometheus takes as many."""

AT_ONCE = 500
"""Alerts in one request."""


@dataclass(frozen=True, slots=True)
class Alertmanager:
    """One Alertmanager; of a cluster, each is a receiver of its own."""

    endpoint: Endpoint
    renew_s: float = RENEW_S
    joins: bool = True

    def check(self) -> None:
        """Raise SendError if a file that sending needs cannot be used."""
        self.endpoint.check()

    def send(self, message: Message, wording: Wording, now: float) -> None:
        """POST what the notices say. Raises SendError."""
        self._post(alerts(message.notices, wording, now + LASTS * self.renew_s))

    def renew(self, standing: Sequence[Notice], wording: Wording, now: float) -> None:
        """POST again what is open. Raises SendError."""
        for start in range(0, len(standing), AT_ONCE):
            part = [replace(n, severity_before="") for n in standing[start : start + AT_ONCE]]
            self._post(alerts(part, wording, now + LASTS * self.renew_s))

    def _post(self, body: list[dict[str, Any]]) -> None:
        self.endpoint.post(json.dumps(body).encode(), {})


def build(table: Table) -> Alertmanager:
    """From a receiver's table; notes what is wrong with it."""
    endpoint = Endpoint.read(table, suffix=PATH)
    return Alertmanager(endpoint, table.number("resend_seconds", RENEW_S, 10, 3600))


def alerts(notices: Iterable[Notice], wording: Wording, until: float) -> list[dict[str, Any]]:
    """postableAlerts: one for each set of labels, as the latest notice has it.

    An alert's labels are its identity: with another severity it is another alert, and the one
    before ends. Open ones end at `until` (UTC epoch seconds) unless they are told again.
    """
    found: dict[str, dict[str, Any]] = {}
    for notice in notices:
        if notice.severity_before not in {"", notice.severity}:
            before = _alert(replace(notice, severity=notice.severity_before), wording)
            before["endsAt"] = _rfc3339(notice.noticed_at)
            found[json.dumps(before["labels"])] = before
        alert = _alert(notice, wording)
        alert["endsAt"] = _rfc3339(notice.resolved_at or datetime.fromtimestamp(until, UTC))
        found[json.dumps(alert["labels"])] = alert
    return list(found.values())


def _alert(notice: Notice, wording: Wording) -> dict[str, Any]:
    link = wording.link_to(notice)
    return {
        "labels": _known(
            alertname=notice.rule,
            service="gpuledger",
            finding=notice.finding,
            severity=notice.severity,
            team=clean(notice.team),
            pool=clean(notice.pool),
        ),
        "annotations": _annotations(notice, wording),
        "startsAt": _rfc3339(notice.first_seen),
        **({"generatorURL": link} if link else {}),
    }


def _annotations(notice: Notice, wording: Wording) -> dict[str, str]:
    told = facts(notice)
    apart = who(notice) | money(notice)
    evidence = [f"{k} {v}" for k, v in told.items() if k not in apart]
    return _known(
        summary=f"{wording.mark()}{notice.rule}: {clean(notice.subject)}",
        description=wording.what(notice),
        remedy=wording.remedy(notice),
        evidence=", ".join(evidence),
        since=shown(notice.first_seen),
        model=apart.get("model", ""),
        endpoint=apart.get("endpoint", ""),
        usd_per_week=apart.get("usd_per_week", ""),
        **commands(notice),
    )


def _known(**pairs: str) -> dict[str, str]:
    """Alertmanager takes an empty value for none at all."""
    return {name: value for name, value in pairs.items() if value}


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
