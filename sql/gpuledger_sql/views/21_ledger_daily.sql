-- Who asked for what, who held it, and what was really used, day by day?
CREATE OR REPLACE VIEW ledger_daily
(
    day Date COMMENT 'Day, UTC',
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
    unpriced_waste_gpu_hours Float64 COMMENT 'Waste that waste_usd leaves out because no price is known, GPU-hours',
    requested_gib_hours Float64 COMMENT 'Memory of the requested GPUs, GiB-hours; 0 where the GPU model is not known',
    allocated_gib_hours Float64 COMMENT 'Memory of the allocated GPUs, GiB-hours',
    used_gib_hours Float64 COMMENT 'Memory that processes used, GiB-hours'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    toDate(l.hour) AS day,
    cluster,
    pool,
    team,
    model,
    endpoint,
    gpu_model,
    sum(l.requested_gpu_hours) AS requested_gpu_hours,
    sum(l.allocated_gpu_hours) AS allocated_gpu_hours,
    sum(l.held_gpu_hours) AS held_gpu_hours,
    sum(l.active_gpu_hours) AS active_gpu_hours,
    sum(l.busy_gpu_hours) AS busy_gpu_hours,
    sum(l.unmeasured_gpu_hours) AS unmeasured_gpu_hours,
    sum(l.unclaimed_gpu_hours) AS unclaimed_gpu_hours,
    sum(l.idle_gpu_hours) AS idle_gpu_hours,
    sum(l.underused_gpu_hours) AS underused_gpu_hours,
    sum(l.waste_gpu_hours) AS waste_gpu_hours,
    sum(l.allocated_usd) AS allocated_usd,
    sum(l.waste_usd) AS waste_usd,
    sum(l.unpriced_waste_gpu_hours) AS unpriced_waste_gpu_hours,
    sum(l.requested_gib_hours) AS requested_gib_hours,
    sum(l.allocated_gib_hours) AS allocated_gib_hours,
    sum(l.used_gib_hours) AS used_gib_hours
FROM ledger_hourly AS l
WHERE l.hour >= toDateTime((SELECT ledger_from FROM read_by_hour), 'UTC')
GROUP BY day, cluster, pool, team, model, endpoint, gpu_model
UNION ALL
SELECT
    day,
    cluster,
    pool,
    team,
    model,
    endpoint,
    gpu_model,
    requested_gpu_hours,
    allocated_gpu_hours,
    held_gpu_hours,
    active_gpu_hours,
    busy_gpu_hours,
    unmeasured_gpu_hours,
    unclaimed_gpu_hours,
    idle_gpu_hours,
    underused_gpu_hours,
    waste_gpu_hours,
    allocated_usd,
    waste_usd,
    unpriced_waste_gpu_hours,
    requested_gib_hours,
    allocated_gib_hours,
    used_gib_hours
FROM ledger_daily_versions FINAL
WHERE day < (SELECT ledger_from FROM read_by_hour)
    AND (day, computed_at) IN (SELECT day, max(computed_at) FROM rolled_days GROUP BY day)
COMMENT 'The ledger: requested against held and used, by day and owner. Units are in the column names; see docs/books.md.'
