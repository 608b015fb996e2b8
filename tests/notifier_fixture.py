"""A notifier on a real database, its findings made by a rule that finds what it is told to."""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger.findings import evaluate
from gpuledger_collector.ledger.notify import config
from gpuledger_collector.ledger.notify.lease import Lease
from gpuledger_collector.ledger.notify.notifier import Notifier
from gpuledger_collector.ledger.notify.wording import Wording
from gpuledger_collector.ledger.rules import Rule
from gpuledger_collector.metrics import Metrics
from tests.waiting import wait_until

KEY = f"whsec_{base64.b64encode(b'k' * 32).decode()}\n"


def rule(*subjects: str, severity: str = "warning", team: str = "search") -> Rule:
    """A rule that finds these."""
    listed = ", ".join(f"'{subject}'" for subject in subjects)
    sql = (
        f"SELECT s AS subject, '{team}' AS team, 'p' AS pool, toNullable(1.5) AS usd,"
        " map('requested_gpus', '8') AS evidence"
        f" FROM (SELECT arrayJoin(CAST([{listed}] AS Array(String))) AS s)"
    )
    return Rule("r", "what it is", "what to do", severity, (), sql)


def new_lease(settle_s: float = 0.2) -> Lease:
    """A claim that settles soon, if the machine is not too busy for it."""
    return Lease(60.0, settle_s, need_s=1.0)


@dataclass
class Telling:
    """One collector's notifier, and the books that it reads. A second one is a second collector."""

    client: Client
    config: config.NotifyConfig
    backoff_s: float = 0.0
    lease: Lease = field(default_factory=new_lease)
    metrics: Metrics = field(default_factory=Metrics)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        wording = Wording({"r": rule()}, self.config.link)
        self.notifier = Notifier(
            self.config, wording, self.metrics, self.lease, backoff_s=self.backoff_s
        )

    def run(self) -> None:
        """One pass; a claim to be the one that tells may take several on a busy machine."""
        wait_until(lambda: self.notifier.run_once(self.client, self.stop))

    def find(self, *subjects: str, at: datetime | None = None, **how: str) -> None:
        """Evaluate a rule that finds these and no others."""
        evaluate(self.client, [rule(*subjects, **how)], at)

    def rows(self, what: str, where: str = "1") -> list[tuple[Any, ...]]:
        """Of the view `notifications`, in order."""
        order = "ORDER BY receiver, noticed_at, subject, number"
        sql = f"SELECT {what} FROM notifications WHERE {where} {order}"
        return list(self.client.query(sql).result_rows)

    def metric(self, name: str, receiver: str) -> float:
        value = self.metrics.registry.get_sample_value(
            f"gpuledger_collector_notifications_{name}", {"receiver": receiver}
        )
        return value or 0.0

    def again(self, **other: Any) -> Telling:
        """Another collector of the same books."""
        return replace(self, **{"lease": new_lease(), "metrics": Metrics(), **other})


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(KEY)
    return path
