"""The hourly books after a run: rolled up, equal to the windows, and balanced."""

from __future__ import annotations

import time

from clickhouse_connect.driver.client import Client

from gpuledger_collector.rollup import Rollup
from tests.faults.compare import Differences

LIVE_S = 120.0
"""Within this, collectors left alone have rolled up every hour that was touched."""

_BEHIND = """
SELECT count()
FROM (SELECT hour, max(touched_at) AS touched FROM touched_hours GROUP BY hour) AS t
LEFT JOIN (SELECT hour, max(rolled_at) AS rolled FROM rolled_hours GROUP BY hour) AS r USING hour
WHERE touched >= rolled
"""

_SUMS = {
    "usage_hourly": (
        "SELECT hour, sum(held_ms), sum(busy_ms) FROM usage_hourly",
        "SELECT toStartOfHour(ts) AS hour, sum(held_ms), sum(sm_busy_ms) FROM process_usage",
    ),
    "workload_hourly": (
        "SELECT hour, sum(held_ms), sum(busy_ms) FROM workload_hourly",
        "SELECT toStartOfHour(ts) AS hour, sum(held_ms), sum(sm_busy_ms) FROM process_usage",
    ),
    "capacity_hourly": (
        "SELECT hour, sum(observed_ms), sum(unallocated_ms), sum(busy_ms) FROM capacity_hourly",
        """SELECT toStartOfHour(ts) AS hour, sum(observed_ms), sum(unallocated_ms), sum(sm_busy_ms)
        FROM gpu_usage""",
    ),
}
"""Sums of hours, and the same of the windows that they come from."""

_BALANCE = """
SELECT hour, pool, difference_gpu_hours FROM ledger_balance WHERE difference_gpu_hours != 0
"""

WINDOWS = {"gpu_usage": "gpu_usage_raw", "process_usage": "process_usage_raw"}
"""Public names of windows, and the tables they read deduplicated."""


def check_hours(client: Client, differences: Differences) -> None:
    """Hold the hourly sums to those of the windows. The collectors still run."""
    deadline = time.monotonic() + LIVE_S
    while _count(client, _BEHIND):
        if time.monotonic() > deadline:
            differences.add("wrong", f"hours are not rolled up after {LIVE_S:.0f} s")
            return
        time.sleep(0.2)
    # The collectors compute an hour once more a minute after its last rows; this is that pass.
    last = Rollup(client, settle_s=0)
    while last.run_once():
        pass
    for view, both in _SUMS.items():
        by_hour, by_window = (_all(client, f"{sql} GROUP BY hour ORDER BY hour") for sql in both)
        differences.compared["hours"] += len(by_hour)
        if by_window != by_hour:
            differences.add("wrong", f"windows add up to {by_window}, {view} to {by_hour}")
    for row in _all(client, _BALANCE):
        differences.add("wrong", f"the books of {row} do not balance")


def check_merged(client: Client, differences: Differences) -> None:
    """Merge all parts: the public names must show what they showed, and no row be kept twice."""
    for view, table in WINDOWS.items():
        before = _print(client, view)
        client.command(f"OPTIMIZE TABLE {table} FINAL")
        if _print(client, view) != before:
            differences.add("wrong", f"{view} changed when its parts were merged")
        kept, shown = _count(client, f"SELECT count() FROM {table}"), before[0]
        if kept != shown:
            differences.add("wrong", f"{table} keeps {kept} rows after a merge, {view} has {shown}")


def _print(client: Client, view: str) -> tuple[int, int]:
    """How many rows there are, and a fingerprint of all."""
    sql = f"SELECT count(), groupBitXor(cityHash64(toString(tuple(*)))) FROM {view}"
    count, fingerprint = client.query(sql).result_rows[0]
    return int(count), int(fingerprint)


def _count(client: Client, sql: str) -> int:
    return int(client.query(sql).result_rows[0][0])


def _all(client: Client, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in client.query(sql).result_rows]
