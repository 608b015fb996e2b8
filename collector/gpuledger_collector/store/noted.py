"""Owners and GPUs that were ever seen: noted as hours are written (migrations/0003_rollups.sql).

Where hours were restored without what was noted of them, the ledger does not know their names: it
is noted again.
"""

from __future__ import annotations

from clickhouse_connect.driver.client import Client

_LACKING = {
    "owners_seen": """
        SELECT DISTINCT cluster, host_pool, gpu_model, pool, team, model, endpoint, use_case, owner
        FROM usage_hourly_versions
        WHERE owner NOT IN (SELECT owner FROM owners_seen)
    """,
    "fleet_seen": """
        SELECT cluster, host_pool, gpu_model, sum(c.observed_ms), sum(c.mem_total_mib_ms)
        FROM
        (
            SELECT cluster, host_pool, gpu_model, observed_ms, mem_total_mib_ms
            FROM capacity_hourly_versions
            UNION ALL
            SELECT cluster, host_pool, gpu_model, observed_ms, mem_total_mib_ms
            FROM capacity_daily_versions
        ) AS c
        WHERE c.observed_ms > 0
            AND (cluster, host_pool, gpu_model) NOT IN
                (SELECT cluster, host_pool, gpu_model FROM fleet_seen)
        GROUP BY cluster, host_pool, gpu_model
    """,
}


def lacking(client: Client) -> dict[str, int]:
    """Rows that each table lacks. Raises ClickHouseError."""
    found = {}
    for table, select in _LACKING.items():
        query = f"SELECT count() FROM ({select})"  # noqa: S608 - our own
        [(found[table],)] = client.query(query).result_rows
    return found


def statements() -> dict[str, str]:
    """By table, what adds to it what it lacks; any number may do so at once."""
    return {table: f"INSERT INTO {table} {select}" for table, select in _LACKING.items()}
