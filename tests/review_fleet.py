"""Books for the review whose figures can be said beforehand, in two periods of four hours.

In every hour of THIS period, at 2 USD for an hour of an H100 and no price for an L4:

| team | requested | allocated | held | active | busy | unclaimed | idle | underused | USD |
|---|---|---|---|---|---|---|---|---|---|
| search | 4 | 3 | 2 | 2 | 1 | 1 | 1 | 1 | 6 |
| speech (L4) | 0 | 1 | 1 | 1 | 0.5 | 0 | 0 | 0.5 | unknown |
| HOSTILE | 0 | 1 | 1 | 0 | 0 | 0 | 1 | 0 | 2 |
| idle-yet | 1 | 0 | 0 | 0 | 0 | 1 | 0 | 0 | unknown |

In the hours BEFORE it and in minutes after it, search alone, with one GPU held and always busy.
A finding of each kind: a gap that stays; work without a request (search's, of BEFORE) that is
gone for an hour, then back; HOSTILE's is acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger import acks, findings, rules
from gpuledger_collector.rollup import Rollup
from gpuledger_collector.store.client import StoreConfig, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate
from tests.clickhouse_fixture import database_of_its_own
from tests.ledger_fleet import insert
from tests.rule_fleet import END, MINUTE, ask, fill, minutes, request, unheld, work
from tests.slo_books import objective, promise
from tests.traffic_books import served

HOURS = 4
SINCE = END - timedelta(hours=HOURS)
BEFORE = SINCE - timedelta(hours=HOURS)
HOSTILE = "</script><img src=x onerror=alert(1)>"
FORMULA = '=HYPERLINK("http://example.com")'
MATHS = r"$\frac{1}{0$ 日本 | `code` [a](b) *x*"
PERIOD = ("--since", f"{SINCE:%Y-%m-%dT%H:%M}", "--until", f"{END:%Y-%m-%dT%H:%M}")
"""What makes the review one of this period."""


@dataclass(frozen=True)
class Books:
    """Where the books are."""

    store: StoreConfig

    @property
    def flags(self) -> tuple[str, ...]:
        """What a command is told."""
        return ("--clickhouse-url", self.store.url, "--database", self.store.database)


@pytest.fixture(scope="session")
def review_books(clickhouse_server: EmbeddedServer) -> Iterator[Books]:
    """The books above; tests only read them."""
    with database_of_its_own(clickhouse_server) as store, connect(store) as client:
        migrate(client)
        keep(client)
        yield Books(store)


def keep(client: Client) -> None:
    """Fill a new database with the books above."""
    _declare(client)
    _live(client)
    _find(client)


def _declare(client: Client) -> None:
    begun = {"requested_from": SINCE}
    ask(
        client,
        request("search", gpus=4, **begun),
        request("idle-yet", gpus=1, pool="nowhere", gpu_model="", **begun),
        request("search", gpus=9, id="search-later", status="proposed", model="next"),
    )


def _live(client: Client) -> None:
    now, then = minutes(HOURS), minutes(HOURS, SINCE)
    half = {"sm_busy_ms": MINUTE // 2}
    small = {"host": "host-2", "team": "speech", "model": "asr", "gpu_model": "NVIDIA L4"}
    hostile = {"host": "host-3", "team": HOSTILE, "model": FORMULA, "endpoint": MATHS}
    fill(
        client,
        [
            *work(then, sm_busy_ms=MINUTE),
            *(row for number in range(2) for row in work(now, number, **half)),
            *work(now, **small, **half),
            *work(now, **hostile, sm_busy_ms=0),
            *work([END + timedelta(minutes=n) for n in range(3)], sm_busy_ms=MINUTE),
        ],
        unheld(now, gpu="GPU-granted"),
    )
    _serve(client, now)
    gap = {
        "ts": SINCE - timedelta(minutes=30),
        "gap_s": 3600,
        "cluster": "east",
        "host": "host-0",
        "rows": 7,
    }
    insert(client, "telemetry_gaps_raw", [gap | {"reason": "disk"}])
    seen = {"cluster": "east", "host": "host-0", "gpu_model": "NVIDIA H100 80GB HBM3"}
    insert(client, "gpus_raw", [seen | {"gpu": f"GPU-host-0-{n}", "share_milli": 1000,
                                        "seen_at": END} for n in range(2)])  # fmt: skip


def _serve(client: Client, times: list[datetime]) -> None:
    """Search promises a second and misses it at 50 % load; HOSTILE promises nothing."""
    promise(client, objective(valid_from=BEFORE))
    slow = {"window_s": 60, "observed_ms": MINUTE, "kv_cache_pct_mean": 50}
    hostile = {"host": "host-3", "team": HOSTILE, "model": FORMULA, "endpoint": MATHS}
    rows = [served(at, [200.0, 1_700.0], **slow) for at in times]
    rows += [served(at, [200.0], **slow | hostile) for at in times]
    insert(client, "endpoint_traffic_raw", rows)
    rollup = Rollup(client, settle_s=0)
    while rollup.run_once():
        pass


def _find(client: Client) -> None:
    known = {rule.name: rule for rule in rules.built_in()}
    gap, work_alone = known["telemetry_gap"], known["usage_without_request"]
    findings.evaluate(client, [gap, work_alone], SINCE - timedelta(minutes=30))
    findings.evaluate(client, [replace(work_alone, enabled=False)], SINCE + timedelta(hours=1))
    findings.evaluate(client, [gap, work_alone], END - timedelta(minutes=1))
    [(hostile,)] = client.query(
        "SELECT id FROM open_findings WHERE team = {team:String}", parameters={"team": HOSTILE}
    ).result_rows
    acks.acknowledge(client, hostile, END + timedelta(days=30), "@ann", MATHS)
