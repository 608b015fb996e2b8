"""Webhooks: JSON, signed as Standard Webhooks 1.0.0 wants it (standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gpuledger_collector.ledger.notify import secret
from gpuledger_collector.ledger.notify.composing import Message
from gpuledger_collector.ledger.notify.endpoint import Endpoint
from gpuledger_collector.ledger.notify.notice import Notice
from gpuledger_collector.ledger.notify.table import Table
from gpuledger_collector.ledger.notify.wording import Wording, clean, commands, who


@dataclass(frozen=True, slots=True)
class Webhook:
    """An HTTP endpoint of the site's own. Each message is signed with every key of the file."""

    endpoint: Endpoint
    secret_file: Path
    joins: bool = False
    renew_s: float = 0.0

    def check(self) -> None:
        """Raise SendError if a file that sending needs cannot be used."""
        self.endpoint.check()
        secret.read_keys(self.secret_file)

    def send(self, message: Message, wording: Wording, now: float) -> None:
        """POST the message. Raises SendError."""
        body = json.dumps(payload(message, wording), separators=(",", ":")).encode()
        keys = secret.read_keys(self.secret_file)
        self.endpoint.post(body, sign(message.id, int(now), body, keys))

    def renew(self, standing: Sequence[Notice], wording: Wording, now: float) -> None:
        """Nothing: what was taken stays told."""


def build(table: Table) -> Webhook:
    """From a receiver's table; notes what is wrong with it."""
    return Webhook(Endpoint.read(table), table.file("secret_file", required=True))


def sign(name: str, timestamp: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The three headers. As `name` holds no full stop, what is signed reads in one way only."""
    content = f"{name}.{timestamp}.".encode() + body
    signatures = (
        base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode() for key in keys
    )
    return {
        "webhook-id": name,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def payload(message: Message, wording: Wording) -> dict[str, Any]:
    """The body: `type`, `timestamp` (of the event) and `data`."""
    last = message.notices[-1]
    if message.joined:
        name = "findings.joined"
        data: dict[str, Any] = {"findings": [_brief(notice) for notice in message.notices]}
    else:
        name, data = f"finding.{last.change}", _whole(last, wording)
    test = {"test": True} if wording.test else {}
    return {"type": name, "timestamp": _iso(last.noticed_at), **test, "data": data}


def _whole(notice: Notice, wording: Wording) -> dict[str, Any]:
    return {
        **_brief(notice),
        "severity_before": notice.severity_before or None,
        "description": wording.what(notice),
        "remedy": wording.remedy(notice),
        "evidence": notice.evidence,
        "commands": commands(notice),
        "link": wording.link_to(notice) or None,
    }


def _brief(notice: Notice) -> dict[str, Any]:
    """What is said of a finding among others: what it is, whose, and how much."""
    return {
        "id": notice.finding,
        "change": notice.change,
        "severity": notice.severity,
        "rule": notice.rule,
        "subject": clean(notice.subject),
        **dict.fromkeys(("team", "model", "endpoint", "pool"), ""),
        **who(notice),
        "usd_per_week": notice.usd,
        "first_seen": _iso(notice.first_seen),
        "resolved_at": _iso(notice.resolved_at) if notice.resolved_at else None,
    }


def _iso(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
