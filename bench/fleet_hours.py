"""A month of a fleet, written straight into the hourly tables, and its newest hour as raw windows.

Raw windows of a month would be ten billion rows. So hours are made in SQL as roll-ups would have
left them; the newest is made of raw windows of 10 s and rolled up by the real roll-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, fields

from clickhouse_connect.driver.client import Client

from bench.openb import Gpu, Placement
from gpuledger_collector.rollup import DERIVED, MEASURED, Rollup

_TABLES = (
    """
    CREATE TABLE fleet_gpus (host String, pool String, gpu String, gpu_model String, free UInt16)
    ENGINE = MergeTree ORDER BY gpu
    """,
    """
    CREATE TABLE fleet_placements
    (
        host String, host_pool String, gpu String, gpu_model String, pool String, team String,
        model String, endpoint String, workload String, share_milli UInt16
    )
    ENGINE = MergeTree ORDER BY gpu
    """,
)

_HOURS = """
(
    SELECT
        toStartOfHour(now('UTC')) - INTERVAL number + 2 HOUR AS hour,
        toDateTime64(hour + INTERVAL 1 HOUR, 6, 'UTC') AS computed_at,
        0.45 + 0.35 * sin(2 * pi() * toHour(hour) / 24) - 0.1 * (toDayOfWeek(hour) > 5) AS load
    FROM numbers({days} * 24 - 1)
) AS h
"""
"""Whole hours but the newest, with the part of the fleet that works in them."""

_USAGE = f"""
INSERT INTO usage_hourly_versions
    (hour, computed_at, cluster, host_pool, gpu_model, pool, team, model, endpoint, held_ms,
     active_ms, busy_ms, active_gpu_ms_by_minute, unmeasured_gpu_ms_by_minute,
     allocated_gpu_ms_by_minute, sm_pct_max, sm_pct_histogram, mem_known_ms, mem_mib_ms,
     mem_mib_min, mem_mib_max, mem_mib_histogram)
WITH
    p.gpus * 60000 AS ms,
    arrayMap(
        m -> toUInt64(if(cityHash64(p.model, h.hour, m) % 1000 < 1000 * h.load, ms, ms / 4)),
        range(60)
    ) AS active,
    4000 + cityHash64(p.model) % 9000 AS mem
SELECT
    h.hour, h.computed_at, 'openb', p.host_pool, p.gpu_model, p.pool, p.team, p.model,
    p.endpoint, toUInt64(60 * ms), arraySum(active), toUInt64(arraySum(active) * h.load), active,
    arrayWithConstant(60, toUInt64(0)), arrayWithConstant(60, toUInt64(ms)), 95,
    mapFromArrays(
        arrayMap(n -> toUInt8(2 * n), range(45)),
        arrayMap(n -> toUInt64(p.pods * 80000 + cityHash64(h.hour, n) % 9000), range(45))
    ),
    3600000 * p.pods, 3600000 * p.pods * mem, mem, mem + 512,
    mapFromArrays(
        arrayMap(n -> toUInt32(intDiv(mem, 16) * 16 + 16 * n), range(24)),
        arrayMap(n -> toUInt64(p.pods * 150000), range(24))
    )
FROM
(
    SELECT
        host_pool, gpu_model, pool, team, model, endpoint,
        sum(share_milli) / 1000 AS gpus, count() AS pods
    FROM fleet_placements
    GROUP BY ALL
) AS p
CROSS JOIN {_HOURS}
"""

_CAPACITY = f"""
INSERT INTO capacity_hourly_versions
    (hour, computed_at, cluster, host_pool, gpu_model, first_seen, last_seen, hosts, gpus,
     observed_ms, unallocated_ms, busy_ms, observed_gpu_ms_by_minute, mem_total_mib_ms)
SELECT
    h.hour, h.computed_at, 'openb', g.pool, g.gpu_model, h.hour, h.hour + 3600, g.hosts, g.gpus,
    g.gpus * 3600000, g.free * 3600, toUInt64(g.gpus * 3600000 * h.load * h.load),
    arrayWithConstant(60, toUInt64(g.gpus * 60000)), g.gpus * 3600000 * 32768
FROM
(
    SELECT pool, gpu_model, uniqExact(host) AS hosts, count() AS gpus, sum(free) AS free
    FROM fleet_gpus
    GROUP BY ALL
) AS g
CROSS JOIN {_HOURS}
"""

_WORKLOADS = f"""
INSERT INTO workload_hourly_versions
    (hour, computed_at, cluster, host, host_pool, gpu, gpu_model, pool, team, model, endpoint,
     workload_kind, workload, first_seen, last_seen, last_worked, held_ms, active_ms, busy_ms,
     mem_mib_max)
SELECT
    h.hour, h.computed_at, 'openb', p.host, p.host_pool, p.gpu, p.gpu_model, p.pool, p.team,
    p.model, p.endpoint, 'pod', p.workload, h.hour, h.hour + 3600,
    if(cityHash64(p.workload) % 50 = 0, 0, h.hour + 3600), p.share_milli * 3600,
    toUInt64(p.share_milli * 3600 * h.load), toUInt64(p.share_milli * 3600 * h.load * h.load),
    4000 + cityHash64(p.model) % 9000
FROM fleet_placements AS p
CROSS JOIN {_HOURS}
"""

_TRAFFIC = f"""
INSERT INTO traffic_hourly_versions
    (hour, computed_at, cluster, host_pool, pool, team, model, endpoint, servers,
     observed_ms_by_minute, requests_by_minute, requests, errors, prompt_tokens, generated_tokens,
     latency_ms, latency_buckets, latency_counts, offered)
WITH
    arrayMap(
        m -> toUInt64(p.pods * h.load * (60 + cityHash64(p.model, h.hour, m) % 60)), range(60)
    ) AS by_minute,
    arraySum(by_minute) AS ended
SELECT
    h.hour, h.computed_at, 'openb', p.host_pool, p.pool, p.team, p.model, p.endpoint, p.pods,
    arrayWithConstant(60, toUInt64(60000)), by_minute, ended, intDiv(ended, 500), ended * 900,
    ended * 200, ended * 400,
    arrayMap(n -> (toUInt64(100000 * n), toUInt64(100000 * (n + 1))), range(12)),
    arrayMap(n -> intDiv(ended, 12), range(12)), 15
FROM
(
    SELECT host_pool, pool, team, model, endpoint, count() AS pods
    FROM fleet_placements
    WHERE endpoint = 'chat' AND team != '' AND cityHash64(model) % 3 != 0
    GROUP BY ALL
) AS p
CROSS JOIN {_HOURS}
"""
"""Of two models of three: some 200 endpoints."""

_ROLLED = f"INSERT INTO rolled_hours SELECT hour, computed_at, computed_at FROM {_HOURS}"

_WINDOWS = """
(
    SELECT toStartOfHour(now('UTC')) - INTERVAL 1 HOUR + 10 * number AS ts
    FROM numbers(360)
) AS w
"""

_GPU_WINDOWS = f"""
INSERT INTO gpu_usage_raw
    (ts, window_s, cluster, host, host_pool, gpu, gpu_model, observed_ms, unallocated_ms,
     sm_busy_ms, sm_source, mem_total_mib, offered)
SELECT w.ts, 10, 'openb', g.host, g.pool, g.gpu, g.gpu_model, 10000, 10 * g.free, 3000, 'device',
    32768, 1
FROM fleet_gpus AS g
CROSS JOIN {_WINDOWS}
"""

_PROCESS_WINDOWS = f"""
INSERT INTO process_usage_raw
    (ts, window_s, cluster, host, host_pool, gpu, gpu_model, pid, team, model, endpoint, pool,
     workload_kind, workload, present_ms, held_ms, sm_busy_ms, sm_pct_max, sm_source,
     mem_mib_mean, mem_mib_max, mem_source)
SELECT
    w.ts, 10, 'openb', p.host, p.host_pool, p.gpu, p.gpu_model, 1 + cityHash64(p.workload) % 60000,
    p.team, p.model, p.endpoint, p.pool, 'pod', p.workload, 10000, 10 * p.share_milli,
    if(cityHash64(p.workload) % 50 = 0, 0, cityHash64(p.workload, w.ts) % (10 * p.share_milli)),
    95, 'process', 4000 + cityHash64(p.model, intDiv(toUnixTimestamp(w.ts), 300)) % 9000, 13000,
    'driver'
FROM fleet_placements AS p
CROSS JOIN {_WINDOWS}
"""

_HEALTH = """
INSERT INTO agent_health_raw (ts, window_s, cluster, host, ticks, gpus)
SELECT toStartOfMinute(now('UTC')) - 60 * minute.number, 60, 'openb', h.host, 60, h.gpus
FROM (SELECT host, count() AS gpus FROM fleet_gpus GROUP BY host) AS h
CROSS JOIN numbers(1440) AS minute
"""

_INVENTORY = (
    """
    INSERT INTO hosts_raw (cluster, host, host_pool, agent_version, seen_at)
    SELECT 'openb', host, any(pool), '0.1.0', now64(3) - INTERVAL 30 DAY
    FROM fleet_gpus
    GROUP BY host
    """,
    """
    INSERT INTO gpus_raw (cluster, host, gpu, gpu_model, memory_mib, share_milli, seen_at)
    SELECT 'openb', host, gpu, gpu_model, 32768, 1000, now64(3) FROM fleet_gpus
    """,
)

_DECLARED = (
    """
    INSERT INTO capacity_requests
        (id, applied_at, team, model, pool, gpus, requested_from, status)
    SELECT concat(model, '-', host_pool), now64(6) - INTERVAL 40 DAY, any(team), model, host_pool,
        ceil(sum(share_milli) / 1000 * (1 + cityHash64(model) % 3 / 4)), now() - INTERVAL 40 DAY,
        'approved'
    FROM fleet_placements
    WHERE team != ''
    GROUP BY model, host_pool
    """,
    """
    INSERT INTO gpu_prices (gpu_model, pool, priced_from, usd_per_gpu_hour, applied_at)
    SELECT gpu_model, '', now() - INTERVAL 90 DAY, 1.5, now64(6) - INTERVAL 40 DAY
    FROM fleet_gpus
    GROUP BY gpu_model
    """,
    """
    INSERT INTO slos
        (team, model, endpoint, valid_from, latency_ms, percentile, attainment_pct, applied_at)
    SELECT DISTINCT team, model, endpoint, now() - INTERVAL 40 DAY, 1000 + cityHash64(model) % 300,
        95, 99, now64(6) - INTERVAL 40 DAY
    FROM fleet_placements
    WHERE endpoint = 'chat' AND team != ''
    """,
)


def fill(client: Client, fleet: Sequence[Gpu], placed: Sequence[Placement], days: int) -> None:
    """Write `days` days of hours, the raw windows of the newest, inventory, requests, prices."""
    for statement in _TABLES:
        client.command(statement)
    for table, kind, rows in (
        ("fleet_gpus", Gpu, fleet),
        ("fleet_placements", Placement, placed),
    ):
        names = [field.name for field in fields(kind)]
        client.insert(table, [astuple(row) for row in rows], column_names=names)
    hours = (_USAGE, _CAPACITY, _WORKLOADS, _TRAFFIC, _ROLLED)
    newest = (_GPU_WINDOWS, _PROCESS_WINDOWS, _HEALTH)
    for statement in (*_INVENTORY, *_DECLARED, *hours, *newest):
        client.command(statement.replace("{days}", str(days)))
    versions = client.query("SELECT toString(hour), toString(computed_at) FROM rolled_hours")
    Rollup(client).derive([(hour, version) for hour, version in versions.result_rows])
    # Roll-ups write one hour after the other. Parts of one large insert overlap in time, which no
    # hours do that were rolled up, and FINAL merges them again for every reader.
    for kind in (*MEASURED, *DERIVED):
        client.command(f"OPTIMIZE TABLE {kind}_hourly_versions FINAL")
