"""How fast every view and rule answers on a month of a large fleet: `python -m bench.fleet_views`.

The fleet has the shape of openb (see `bench.openb`; its files are looked for where --data says, by
default in ../shared/data/openb); 30 days of it are in ClickHouse by the hour, the newest hour also
as windows of 10 s. Each view is read whole, and for its last day and week where it has a time
column. Beside the milliseconds stands how many times as long this took as a plain sum over one
hourly table: by day and owner, without versions, requests or prices.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from clickhouse_connect.driver.client import Client

from bench import fleet_hours, openb
from gpuledger_collector.ledger import rules
from gpuledger_collector.rollup import Rollup
from gpuledger_collector.rollup_days import DayRollup
from gpuledger_collector.store.client import connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate

PEER = """
SELECT
    toDate(hour) AS day, pool, team, model, endpoint, gpu_model,
    sum(held_ms), sum(active_ms), sum(busy_ms)
FROM usage_hourly_versions
GROUP BY ALL
"""

_SINCE = "toStartOfDay(now('UTC') - INTERVAL {days} DAY)"

ATTEMPTS = 3


def milliseconds(client: Client, query: str, **parameters: object) -> float:
    """Best of a few."""
    times = []
    for _ in range(ATTEMPTS):
        started = time.perf_counter()
        client.command(f"{query}\nFORMAT Null", parameters=parameters)
        times.append(time.perf_counter() - started)
    return 1000 * min(times)


def views(client: Client) -> Iterator[tuple[str, str]]:
    """Names of all views, each with its time column, if it has one."""
    names = client.query(
        "SELECT name FROM system.tables"
        " WHERE database = currentDatabase() AND engine = 'View' ORDER BY name"
    ).result_rows
    for (name,) in names:
        columns = {row[0] for row in client.query(f"DESCRIBE {name}").result_rows}
        yield name, next((column for column in ("hour", "day", "ts") if column in columns), "")


def fill(client: Client, folder: Path, days: int) -> None:
    """The fleet's month, rolled up by the hour and by the day."""
    fleet = openb.gpus(folder)
    placed = list(openb.placements(fleet, folder))
    hosts = len({gpu.host for gpu in fleet})
    print(
        f"{hosts:,} hosts, {len(fleet):,} GPUs, {len(placed):,} pods on GPUs; {days} days of hours"
    )
    fleet_hours.fill(client, fleet, placed, days)
    for name, rollup in (("hour", Rollup(client, settle_s=0)), ("day", DayRollup(client))):
        count, started = 0, time.perf_counter()
        while done := rollup.run_once():
            count += done
        print(f"roll-up: {1000 * (time.perf_counter() - started) / max(count, 1):,.0f} ms a {name}")


def tell(name: str, peer: float, *times: float) -> None:
    """One line: milliseconds, and the first of them in units of the peer."""
    columns = "".join(f"{ms:10,.0f}" for ms in times)
    print(f"{name:28}{times[0] / peer:8.1f}{columns}", flush=True)


def main() -> None:
    """Print the table."""
    on_fleet(__doc__, lambda client, _: measure(client))


def on_fleet(what: str | None, measure: Callable[[Client, int], None]) -> None:
    """Fill a ClickHouse as the command line says, and measure there, given the days."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--data", type=Path, default=openb.DATA)
    parser.add_argument("--days", type=int, default=30)
    options = parser.parse_args()
    if not (options.data / openb.PODS).exists():
        print(f"{options.data}: no files of openb there; name their folder with --data")
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedServer(Path(folder)) as server,
        connect(replace(server.store, database="bench"), create_database=True) as client,
    ):
        migrate(client)
        fill(client, options.data, options.days)
        measure(client, options.days)


def measure(client: Client) -> None:
    """Every view, then every rule."""
    peer = milliseconds(client, PEER)
    print(f"{'':28}{'x peer':>8}{'all, ms':>10}{'day, ms':>10}{'week, ms':>10}")
    tell("the peer", peer, peer)
    for name, column in views(client):
        filters = [f" WHERE {column} >= {_SINCE.format(days=n)}" for n in (1, 7)] if column else []
        selects = [f"SELECT * FROM {name}{condition}" for condition in ("", *filters)]
        tell(name, peer, *(milliseconds(client, select) for select in selects))
    now = datetime.now(UTC).replace(microsecond=0)
    for rule in rules.built_in():
        parameters = {**rule.parameters(), "now": now}
        tell(f"rule {rule.name}", peer, milliseconds(client, rule.sql, **parameters))


if __name__ == "__main__":
    main()
