-- Who asked for what, who held it, and what was really used?
--
-- A request for any model (or endpoint, or GPU model) stands in a row of its own, with those
-- columns empty; what it got stands in the rows of its users. Sums over teams agree.
CREATE OR REPLACE VIEW ledger_hourly
(
    hour DateTime('UTC') COMMENT 'Start of the hour',
    cluster LowCardinality(String) COMMENT 'Cluster; empty for requests that more than one cluster could serve',
    pool LowCardinality(String) COMMENT 'Pool that the workload or request belongs to',
    team LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    model LowCardinality(String) COMMENT 'Model; empty: not said, or any',
    endpoint LowCardinality(String) COMMENT 'Endpoint; empty: not said, or any',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it; as in the request where several fit',
    requested_gpu_hours Float64 COMMENT 'Asked for by approved requests, GPU-hours',
    allocated_gpu_hours Float64 COMMENT 'Held, or granted without a process, GPU-hours',
    held_gpu_hours Float64 COMMENT 'A process was there, GPU-hours',
    active_gpu_hours Float64 COMMENT 'Held in windows with SM time, GPU-hours',
    busy_gpu_hours Float64 COMMENT 'SMs busy, GPU-hours',
    unmeasured_gpu_hours Float64 COMMENT 'Held, and nobody can say whether the SMs were busy; nobody''s waste, GPU-hours',
    unclaimed_gpu_hours Float64 COMMENT 'Waste: requested and not allocated, GPU-hours',
    idle_gpu_hours Float64 COMMENT 'Waste: allocated in windows without SM time, GPU-hours',
    underused_gpu_hours Float64 COMMENT 'Waste: active and not busy, GPU-hours',
    waste_gpu_hours Float64 COMMENT 'Unclaimed + idle + underused, GPU-hours',
    allocated_usd Nullable(Float64) COMMENT 'Price of what was allocated, USD; NULL: no price known',
    waste_usd Nullable(Float64) COMMENT 'Price of the waste, USD; NULL: no price known, then see unpriced_waste_gpu_hours',
    unclaimed_usd Nullable(Float64) COMMENT 'Part of waste_usd that is unclaimed, USD',
    idle_usd Nullable(Float64) COMMENT 'Part of waste_usd that is idle, USD',
    underused_usd Nullable(Float64) COMMENT 'Part of waste_usd that is underused, USD',
    unpriced_waste_gpu_hours Float64 COMMENT 'Waste that waste_usd leaves out because no price is known, GPU-hours',
    requested_gib_hours Float64 COMMENT 'Memory of the requested GPUs, GiB-hours; 0 where the GPU model is not known',
    allocated_gib_hours Float64 COMMENT 'Memory of the allocated GPUs, GiB-hours',
    used_gib_hours Float64 COMMENT 'Memory that processes used, GiB-hours'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    (SELECT prices FROM gpu_price_list) AS prices,
    usage AS
    (
        SELECT
            hour, request_group, cluster, host_pool, pool, team, model, endpoint, gpu_model,
            u.held_ms + u.unheld_ms AS allocated,
            held_ms, active_ms, busy_ms, unmeasured_ms, mem_mib_ms
        FROM usage_by_request AS u
    ),
    asked AS
    (
        SELECT hour, request_group, sum(r.requested_gpu_hours) * 3600000 AS requested
        FROM requested_hourly AS r
        GROUP BY hour, request_group
    ),
    claims AS
    (
        SELECT hour, request_group, sum(u.allocated) AS claimed
        FROM usage AS u
        GROUP BY hour, request_group
    ),
    postings AS
    (
        SELECT
            hour, cluster, host_pool, pool, team, model, endpoint, gpu_model,
            toFloat64(0) AS requested,
            u.allocated AS allocated,
            u.held_ms AS held,
            u.active_ms AS active,
            u.busy_ms AS busy,
            u.unmeasured_ms AS unmeasured,
            u.mem_mib_ms AS mem_mib_ms,
            toFloat64(0) AS unclaimed
        FROM usage AS u
        UNION ALL
        SELECT
            a.hour,
            g.fleet_cluster, g.pool, g.pool, g.team, g.model, g.endpoint, g.fleet_gpu_model,
            a.requested,
            0, 0, 0, 0, 0, 0,
            greatest(a.requested - c.claimed, 0)
        FROM asked AS a
        INNER JOIN request_groups AS g ON g.request_group = a.request_group
        LEFT JOIN claims AS c ON c.hour = a.hour AND c.request_group = a.request_group
    ),
    fitting AS
    (
        SELECT
            host_pool,
            gpu_model,
            arrayMap(
                price -> (price.priced_from, price.usd_per_gpu_hour),
                arrayFilter(
                    price -> price.pool IN ('', k.host_pool)
                        AND (price.gpu_model = '' OR position(lowerUTF8(k.gpu_model), price.gpu_model) > 0),
                    prices
                )
            ) AS prices
        FROM
        (
            SELECT host_pool, gpu_model FROM owners_seen
            UNION DISTINCT
            SELECT pool, fleet_gpu_model FROM request_groups
        ) AS k
    ),
    entries AS
    (
        SELECT
            hour, cluster, pool, team, model, endpoint, gpu_model,
            requested, allocated, held, active, busy, unmeasured, mem_mib_ms, unclaimed,
            p.unclaimed + (p.allocated - p.unmeasured - p.busy) AS waste,
            arrayFirst(price -> price.1 <= p.hour, f.prices).2 AS usd
        FROM postings AS p
        LEFT JOIN fitting AS f ON f.host_pool = p.host_pool AND f.gpu_model = p.gpu_model
    ),
    memory AS
    (
        SELECT gpu_model, sum(c.mem_total_mib_ms) / sum(c.observed_ms) / 1024 AS gib
        FROM fleet_seen AS c
        WHERE c.observed_ms > 0
        GROUP BY gpu_model
    )
SELECT
    e.hour AS hour,
    e.cluster AS cluster,
    e.pool AS pool,
    if(e.team = '', 'unattributed', e.team) AS team,
    e.model AS model,
    e.endpoint AS endpoint,
    e.gpu_model AS gpu_model,
    sum(e.requested) / 3600000 AS requested_gpu_hours,
    sum(e.allocated) / 3600000 AS allocated_gpu_hours,
    sum(e.held) / 3600000 AS held_gpu_hours,
    sum(e.active) / 3600000 AS active_gpu_hours,
    sum(e.busy) / 3600000 AS busy_gpu_hours,
    sum(e.unmeasured) / 3600000 AS unmeasured_gpu_hours,
    sum(e.unclaimed) / 3600000 AS unclaimed_gpu_hours,
    sum(e.allocated - e.active - e.unmeasured) / 3600000 AS idle_gpu_hours,
    sum(e.active - e.busy) / 3600000 AS underused_gpu_hours,
    sum(e.waste) / 3600000 AS waste_gpu_hours,
    sum(e.allocated * e.usd) / 3600000 AS allocated_usd,
    sum(e.waste * e.usd) / 3600000 AS waste_usd,
    sum(e.unclaimed * e.usd) / 3600000 AS unclaimed_usd,
    sum((e.allocated - e.active - e.unmeasured) * e.usd) / 3600000 AS idle_usd,
    sum((e.active - e.busy) * e.usd) / 3600000 AS underused_usd,
    sumIf(e.waste, e.usd IS NULL) / 3600000 AS unpriced_waste_gpu_hours,
    sum(e.requested * m.gib) / 3600000 AS requested_gib_hours,
    sum(e.allocated * m.gib) / 3600000 AS allocated_gib_hours,
    sum(e.mem_mib_ms) / 1024 / 3600000 AS used_gib_hours
FROM entries AS e
LEFT JOIN memory AS m ON m.gpu_model = e.gpu_model
GROUP BY hour, cluster, pool, team, model, endpoint, gpu_model
COMMENT 'The ledger: requested against held and used, by hour and owner. Units are in the column names; see docs/books.md.'
