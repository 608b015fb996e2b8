"""How long the weekly review takes on a month of a large fleet: `python -m bench.review`.

The fleet is that of `bench.fleet_views`. Printed are the queries of a week and of all days, then
the renderers: milliseconds, and how many times as long as a plain sum over one hourly table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.client import Client

from bench.fleet_views import PEER, milliseconds, on_fleet, tell
from gpuledger_collector.report import as_csv, as_html, as_json, as_markdown, queries
from gpuledger_collector.report.ask import ask
from gpuledger_collector.report.model import Report
from gpuledger_collector.report.period import read_period

RENDERERS = {"html": as_html, "markdown": as_markdown, "json": as_json, "csv": as_csv}


def timed(work: Callable[..., Any], *given: Any) -> tuple[Any, float]:
    """What some work gives, and its milliseconds, the best of two: libraries load in the first."""
    times = []
    for _ in range(2):
        started = time.perf_counter()
        done = work(*given)
        times.append(1000 * (time.perf_counter() - started))
    return done, min(times)


def main() -> None:
    """Print the table."""
    on_fleet(__doc__, measure)


def measure(client: Client, days: int) -> None:
    """A week, then all days."""
    peer = milliseconds(client, PEER)
    tell("the peer", peer, peer)
    for length in ("7d", f"{days}d"):
        period = read_period(length, None, datetime.now(UTC))
        for query in queries.load():
            tell(f"{length} {query.name}", peer, milliseconds(client, query.printed(period, "")))
        report, took = timed(ask, client, period, "", datetime.now(UTC))
        tell(f"{length} all queries", peer, took)
        _render(report, length, peer)


def _render(report: Report, length: str, peer: float) -> None:
    for name, module in RENDERERS.items():
        tell(f"{length} {name}", peer, timed(module.render, report)[1])


if __name__ == "__main__":
    main()
