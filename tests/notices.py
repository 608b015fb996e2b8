"""Notices and findings to begin with."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gpuledger_collector.ledger.notify.composing import Message
from gpuledger_collector.ledger.notify.notice import Finding, Notice
from gpuledger_collector.ledger.notify.planning import Target, plan
from gpuledger_collector.ledger.notify.wording import Wording
from gpuledger_collector.ledger.rules import built_in

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

WORDING = Wording({rule.name: rule for rule in built_in()}, "https://books.example/f?id={finding}")

FINDING = Finding(
    id="9205d71015092cc4",
    rule="over_provisioned_request",
    subject="search-chat",
    first_seen=T0,
    severity="warning",
    team="search",
    pool="production",
    usd=1234.5,
    evidence={"model": "ranker", "requested_gpus": "64", "used_gpus_p95": "20"},
    resolved_at=None,
    state="open",
)


def finding(**given: Any) -> Finding:
    """FINDING with other fields."""
    return replace(FINDING, **given)


def notice(**given: Any) -> Notice:
    """The notice that FINDING opened, with other fields."""
    [opened] = plan([FINDING], [], lambda _: [Target("chat")], T0)
    return replace(opened, **given)


def message(*notices: Notice, name: str = "msg_1") -> Message:
    return Message(name, notices or (notice(),))
