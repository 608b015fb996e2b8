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
    memory AS
    (
        SELECT gpu_model, sum(c.mem_total_mib_ms) / sum(c.observed_ms) / 1024 AS gib
        FROM fleet_seen AS c
        GROUP BY gpu_model
    ),
    -- What usage and requests are entered as. There are few: names and prices are looked up for them,
    -- and the rows of hours are grouped by a number, which takes a third of what their names would.
    accounts AS
    (
        SELECT
            k.account AS account,
            sipHash64(k.cluster, k.pool, k.team, k.model, k.endpoint, k.gpu_model) AS entry,
            k.cluster AS cluster,
            k.pool AS pool,
            toLowCardinality(if(k.team = '', 'unattributed', k.team)) AS team,
            k.model AS model,
            k.endpoint AS endpoint,
            k.gpu_model AS gpu_model,
            m.gib AS gib,
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
            SELECT DISTINCT
                owner AS account, cluster, host_pool, pool, team, model, endpoint, gpu_model
            FROM owners_seen
            UNION ALL
            SELECT request_group, fleet_cluster, pool, pool, team, model, endpoint, fleet_gpu_model
            FROM request_groups
        ) AS k
        LEFT ANY JOIN memory AS m ON m.gpu_model = k.gpu_model
    ),
    postings AS
    (
        SELECT
            hour,
            request_group,
            u.owner AS account,
            toFloat64(0) AS requested,
            u.held_ms + u.unheld_ms AS allocated,
            u.held_ms AS held,
            u.active_ms AS active,
            u.busy_ms AS busy,
            u.unmeasured_ms AS unmeasured,
            u.mem_mib_ms AS mem_mib_ms
        FROM usage_by_request AS u
        UNION ALL
        SELECT hour, request_group, request_group, sum(r.requested_gpu_hours) * 3600000, 0, 0, 0, 0, 0, 0
        FROM requested_hourly AS r
        GROUP BY hour, request_group
    ),
    claims AS
    (
        SELECT
            p.*,
            if(
                p.requested = 0, 0,
                greatest(p.requested - sum(p.allocated) OVER (PARTITION BY hour, request_group), 0)
            ) AS unclaimed
        FROM postings AS p
    ),
    entries AS
    (
        WITH
            arrayFirst(price -> price.1 <= p.hour, k.prices).2 AS price,
            ifNull(price, 0) AS usd
        SELECT
            hour,
            entry,
            sum(p.requested) AS requested,
            sum(p.allocated) AS allocated,
            sum(p.held) AS held,
            sum(p.active) AS active,
            sum(p.busy) AS busy,
            sum(p.unmeasured) AS unmeasured,
            sum(p.unclaimed) AS unclaimed,
            sum(p.mem_mib_ms) AS mem_mib_ms,
            countIf(price IS NOT NULL) > 0 AS priced,
            sum(p.allocated * usd) AS allocated_usd,
            sum(p.unclaimed * usd) AS unclaimed_usd,
            sum((p.allocated - p.active - p.unmeasured) * usd) AS idle_usd,
            sum((p.active - p.busy) * usd) AS underused_usd,
            sumIf(p.unclaimed + (p.allocated - p.unmeasured - p.busy), price IS NULL) AS unpriced
        FROM claims AS p
        LEFT ANY JOIN accounts AS k ON k.account = p.account
        GROUP BY hour, entry
    )
SELECT
    e.hour AS hour,
    k.cluster AS cluster,
    k.pool AS pool,
    k.team AS team,
    k.model AS model,
    k.endpoint AS endpoint,
    k.gpu_model AS gpu_model,
    e.requested / 3600000 AS requested_gpu_hours,
    e.allocated / 3600000 AS allocated_gpu_hours,
    e.held / 3600000 AS held_gpu_hours,
    e.active / 3600000 AS active_gpu_hours,
    e.busy / 3600000 AS busy_gpu_hours,
    e.unmeasured / 3600000 AS unmeasured_gpu_hours,
    e.unclaimed / 3600000 AS unclaimed_gpu_hours,
    (e.allocated - e.active - e.unmeasured) / 3600000 AS idle_gpu_hours,
    (e.active - e.busy) / 3600000 AS underused_gpu_hours,
    (e.unclaimed + e.allocated - e.unmeasured - e.busy) / 3600000 AS waste_gpu_hours,
    if(e.priced, e.allocated_usd / 3600000, NULL) AS allocated_usd,
    if(e.priced, (e.unclaimed_usd + e.idle_usd + e.underused_usd) / 3600000, NULL) AS waste_usd,
    if(e.priced, e.unclaimed_usd / 3600000, NULL) AS unclaimed_usd,
    if(e.priced, e.idle_usd / 3600000, NULL) AS idle_usd,
    if(e.priced, e.underused_usd / 3600000, NULL) AS underused_usd,
    e.unpriced / 3600000 AS unpriced_waste_gpu_hours,
    e.requested * k.gib / 3600000 AS requested_gib_hours,
    e.allocated * k.gib / 3600000 AS allocated_gib_hours,
    e.mem_mib_ms / 1024 / 3600000 AS used_gib_hours
FROM entries AS e
LEFT ANY JOIN accounts AS k ON k.entry = e.entry
COMMENT 'The ledger: requested against held and used, by hour and owner. Units are in the column names; see docs/books.md.'
