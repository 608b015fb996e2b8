"""How fast the views answer, beside the same answer computed from raw rows.

`python -m bench.views [--gpus 80] [--days 28]`: a week of raw 10 s windows is generated in SQL and
rolled up by the real roll-ups; those of hours are then copied further back. Printed per view:
milliseconds over all days and over the week, and how many times longer the raw rows of the week
take to say the same (the easier part of it: usage without requests and prices).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from clickhouse_connect.driver.client import Client

from gpuledger_collector.rollup import TABLES, Rollup
from gpuledger_collector.rollup_days import DayRollup
from gpuledger_collector.store.client import connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate

RAW_DAYS = 7
"""Raw rows expire after 14 days."""

VIEWS = {
    "ledger_hourly": "hour",
    "ledger_balance": "hour",
    "ledger_daily": "day",
    "waste_by_team": "day",
    "waste_by_model": "day",
    "resource_profile": "day",
    "request_review": "",
    "idle_allocations": "",
    "unattributed_usage": "",
    "isolation_violations": "hour",
    "consolidation_candidates": "",
    "pool_headroom": "hour",
}
"""View -> its time column, if it has one."""

_USED = """
    SELECT {key}, sum(held_ms), sum(if(sm_busy_ms > 0, held_ms, 0)), sum(sm_busy_ms)
    FROM process_usage_raw FINAL GROUP BY {key}
"""

RAW = {
    "ledger_hourly": _USED.format(
        key="toStartOfHour(ts), cluster, pool, team, model, endpoint, gpu_model"
    ),
    "ledger_balance": """
        SELECT hour, sum(observed) - sum(held) FROM
        (
            SELECT toStartOfHour(ts) AS hour, observed_ms - unallocated_ms AS observed, 0 AS held
            FROM gpu_usage_raw FINAL
            UNION ALL
            SELECT toStartOfHour(ts), 0, held_ms FROM process_usage_raw FINAL
        )
        GROUP BY hour
    """,
    "waste_by_team": _USED.format(key="toDate(ts), team"),
    "waste_by_model": _USED.format(key="toDate(ts), team, model"),
    "resource_profile": """
        SELECT
            toDate(ts), team, model, endpoint, pool, gpu_model,
            quantilesExactWeighted(0.5, 0.95, 0.99)(mem_mib_mean, present_ms),
            quantilesExactWeighted(0.5, 0.95, 0.99)(
                intDiv(100 * sm_busy_ms, present_ms), present_ms
            )
        FROM process_usage_raw FINAL
        GROUP BY ALL
    """,
}
"""The same from raw rows."""

_PLACE = """
    toStartOfDay(now('UTC')) - INTERVAL {days} DAY + 10 * (number % {windows}) AS ts,
    10 AS window_s,
    'east' AS cluster,
    'host-' || toString(intDiv(number, {windows} * 8)) AS host,
    'production' AS host_pool,
    'GPU-' || toString(intDiv(number, {windows})) AS gpu,
    'NVIDIA H100 80GB HBM3' AS gpu_model
"""

_FILL = (
    f"""
    INSERT INTO gpu_usage_raw
        (ts, window_s, cluster, host, host_pool, gpu, gpu_model, observed_ms, unallocated_ms,
         sm_busy_ms, sm_source, mem_total_mib, offered)
    SELECT {_PLACE}, 10000, 1000, 4000, 'device', 81920, 1 FROM numbers({{windows}} * {{gpus}})
    """,
    f"""
    INSERT INTO process_usage_raw
        (ts, window_s, cluster, host, host_pool, gpu, gpu_model, pid, team, model, endpoint, pool,
         workload_kind, workload, present_ms, held_ms, sm_busy_ms, sm_pct_max, sm_source,
         mem_mib_mean, mem_mib_max, mem_source)
    SELECT {_PLACE}, 7,
        'team-' || toString(intDiv(number, {{windows}}) % 8),
        'model-' || toString(intDiv(number, {{windows}}) % 40),
        'chat', 'production', 'pod', 'pod-' || gpu,
        10000, 9000, if(cityHash64(number) % 3 = 0, cityHash64(number) % 9000, 0), 90, 'process',
        2000 + cityHash64(gpu, intDiv(number, 30)) % 40000, 60000, 'driver'
    FROM numbers({{windows}} * {{gpus}})
    """,
    """
    INSERT INTO capacity_requests
        (id, applied_at, team, model, pool, gpu_model, gpus, requested_from, status)
    SELECT 'request-' || toString(number), now64(6) - INTERVAL 90 DAY,
        'team-' || toString(number % 8), if(number < 8, '', 'model-' || toString(number)),
        'production', 'H100', 8, now() - INTERVAL 90 DAY, 'approved'
    FROM numbers(40)
    """,
    """
    INSERT INTO gpu_prices (gpu_model, pool, priced_from, usd_per_gpu_hour, applied_at)
    SELECT 'H100', '', now() - INTERVAL 90 DAY, 2.5, now64(6)
    """,
)


def fill(client: Client, gpus: int, days: int) -> None:
    """A week of raw rows, rolled up, and the roll-ups once more for every further week."""
    for statement in _FILL:
        client.command(statement.format(gpus=gpus, days=RAW_DAYS, windows=RAW_DAYS * 8640))
    per_hour = milliseconds_each(Rollup(client, settle_s=0))
    print(f"roll-up: {per_hour:.0f} ms an hour of {gpus} GPUs ({gpus * 720:,} raw rows)")
    per_day = milliseconds_each(DayRollup(client, rest_s=0))
    share = 100 * per_day / per_hour / 24
    print(f"roll-up: {per_day:.0f} ms a day, {share:.1f} % of that of its hours")
    for table in (*TABLES, "rolled_hours"):
        columns = {str(row[0]) for row in client.query(f"DESCRIBE {table}").result_rows}
        times = sorted(columns & {"hour", "first_seen", "last_seen"})
        shifted = ", ".join(f"{name} - INTERVAL day DAY AS {name}" for name in times)
        weeks = f"SELECT {RAW_DAYS} * (number + 1) AS day FROM numbers({days // RAW_DAYS - 1})"
        client.command(
            f"INSERT INTO {table} SELECT * EXCEPT (day) REPLACE ({shifted})"
            f" FROM {table} CROSS JOIN ({weeks}) AS weeks"
        )


def milliseconds_each(rollup: Rollup | DayRollup) -> float:
    """How long one hour or day takes, of all that are due."""
    count, started = 0, time.perf_counter()
    while done := rollup.run_once():
        count += done
    return 1000 * (time.perf_counter() - started) / count


def milliseconds(client: Client, query: str) -> float:
    """Best of three."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        client.command(f"{query} FORMAT Null")
        times.append(time.perf_counter() - started)
    return 1000 * min(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=80)
    parser.add_argument("--days", type=int, default=28)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedServer(Path(folder)) as server,
        connect(replace(server.store, database="bench"), create_database=True) as client,
    ):
        migrate(client)
        fill(client, options.gpus, options.days)
        print(
            f"{options.gpus} GPUs, {options.days} days of roll-ups, {RAW_DAYS} days of raw windows"
        )
        print(f"{'view':26}{'all, ms':>10}{'week, ms':>10}{'raw, ms':>10}{'raw/view':>10}")
        for view, column in VIEWS.items():
            _print(client, view, column)


def _print(client: Client, view: str, column: str) -> None:
    whole = milliseconds(client, f"SELECT * FROM {view}")
    line = f"{view:26}{whole:10.0f}"
    if column:
        since = f"{column} >= toStartOfDay(now('UTC') - INTERVAL {RAW_DAYS} DAY)"
        week = milliseconds(client, f"SELECT * FROM {view} WHERE {since}")
        line += f"{week:10.0f}"
        if view in RAW:
            raw = milliseconds(client, RAW[view])
            line += f"{raw:10.0f}{raw / week:10.1f}"
    print(line)


if __name__ == "__main__":
    main()
