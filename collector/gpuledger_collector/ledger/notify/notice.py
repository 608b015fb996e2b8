"""Notices: what one receiver is to be told of one finding, and how that went."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gpuledger_collector.ledger.rules import SEVERITIES

WAITING, SENT, FAILED = "waiting", "sent", "failed"
OPENED, ESCALATED, EASED, RESOLVED = "opened", "escalated", "eased", "resolved"

AT_ONCE = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Finding:
    """A row of the view `findings`. Times in UTC; `state` is open or resolved."""

    id: str
    rule: str
    subject: str
    first_seen: datetime
    severity: str
    team: str
    pool: str
    usd: float | None
    evidence: dict[str, str]
    resolved_at: datetime | None
    state: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A row of `notification_versions`, whose comments explain the fields. Times in UTC."""

    receiver: str
    finding: str
    first_seen: datetime
    number: int
    change: str
    rule: str
    subject: str
    severity: str
    severity_before: str
    team: str
    pool: str
    usd: float | None
    evidence: dict[str, str]
    resolved_at: datetime | None
    noticed_at: datetime
    join_key: str
    message: str = ""
    state: str = WAITING
    attempts: int = 0
    not_before: datetime = AT_ONCE
    fault: str = ""

    @property
    def id(self) -> str:
        """The same whoever makes the notice, and however often."""
        begun = str(int(self.first_seen.timestamp()))
        return message_id([self.receiver, self.finding, begun, str(self.number)])


def message_id(parts: Sequence[str]) -> str:
    """A name for a message made of these parts: letters, digits and _ only."""
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace"))
    return f"msg_{digest.hexdigest()[:32]}"


def step(before: str, after: str) -> str:
    """What a change of severity is called."""
    return ESCALATED if SEVERITIES.index(after) > SEVERITIES.index(before) else EASED
