-- What does a model or endpoint really need?
--
-- Memory and SM use: of one GPU (or MIG instance) in one window, weighted by time of presence.
-- used_gpus: of one minute, over the minutes in which the owner was allocated anything. Time of
-- which nobody knows whether the SMs were busy counts as used: no evidence, no accusation.
CREATE OR REPLACE VIEW resource_profile
(
    day Date COMMENT 'Day, UTC',
    team LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    model LowCardinality(String) COMMENT 'Model; empty: not said',
    endpoint LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    pool LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    mem_mib_min Nullable(UInt32) COMMENT 'Least memory on one GPU, mean of a window, MiB; NULL: the driver does not say',
    mem_mib_p50 Nullable(Float64) COMMENT 'Memory on one GPU, median, MiB, within 8',
    mem_mib_p95 Nullable(Float64) COMMENT 'Memory on one GPU, 95th percentile, MiB, within 8',
    mem_mib_p99 Nullable(Float64) COMMENT 'Memory on one GPU, 99th percentile, MiB, within 8',
    mem_mib_max Nullable(UInt32) COMMENT 'Most memory on one GPU at any tick, MiB',
    sm_pct_min Nullable(UInt8) COMMENT 'Least SM use of one GPU, mean of a window, percent of a whole GPU; NULL: never measured',
    sm_pct_p50 Nullable(Float64) COMMENT 'SM use of one GPU, median, percent of a whole GPU',
    sm_pct_p95 Nullable(Float64) COMMENT 'SM use of one GPU, 95th percentile, percent of a whole GPU',
    sm_pct_p99 Nullable(Float64) COMMENT 'SM use of one GPU, 99th percentile, percent of a whole GPU',
    sm_pct_max Nullable(UInt8) COMMENT 'Highest SM use sampled at any tick, percent',
    used_gpus_p50 Float64 COMMENT 'GPUs active at a time, median of minutes, whole GPUs',
    used_gpus_p95 Float64 COMMENT 'GPUs active at a time, 95th percentile of minutes, whole GPUs',
    used_gpus_max Float64 COMMENT 'GPUs active at a time, highest minute, whole GPUs',
    allocated_gpus_p50 Float64 COMMENT 'GPUs allocated at a time, median of minutes, whole GPUs',
    allocated_gpus_p95 Float64 COMMENT 'GPUs allocated at a time, 95th percentile of minutes, whole GPUs',
    used_minutes Map(UInt64, UInt64) COMMENT 'GPU time active in a minute, milliseconds of a whole GPU -> minutes of the day in which anything was allocated; adds up over days',
    allocated_minutes Map(UInt64, UInt64) COMMENT 'GPU time allocated in a minute, milliseconds of a whole GPU -> minutes of the day; adds up over days',
    held_gpu_hours Float64 COMMENT 'A process was there, GPU-hours',
    unmeasured_gpu_hours Float64 COMMENT 'Held, and nobody can say whether the SMs were busy, GPU-hours'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    hours AS
    (
        SELECT
            hour, team, model, endpoint, pool, gpu_model,
            sum(u.held_ms) AS held,
            sum(u.unmeasured_ms) AS unmeasured,
            minIf(u.mem_mib_min, u.mem_known_ms > 0) AS mem_min,
            max(u.mem_mib_max) AS mem_max,
            sum(u.mem_known_ms) AS mem_ms,
            groupArrayArray(mapKeys(u.mem_mib_histogram)) AS mem_values,
            groupArrayArray(mapValues(u.mem_mib_histogram)) AS mem_weights,
            max(u.sm_pct_max) AS sm_max,
            groupArrayArray(mapKeys(u.sm_pct_histogram)) AS sm_values,
            groupArrayArray(mapValues(u.sm_pct_histogram)) AS sm_weights,
            sumForEach(u.active_gpu_ms_by_minute) AS active_by_minute,
            sumForEach(u.unmeasured_gpu_ms_by_minute) AS unmeasured_by_minute,
            sumForEach(u.allocated_gpu_ms_by_minute) AS allocated_by_minute
        FROM usage_hourly AS u
        WHERE u.hour >= toDateTime((SELECT hours_from FROM read_by_hour), 'UTC')
        GROUP BY hour, team, model, endpoint, pool, gpu_model
    ),
    days AS
    (
        WITH
            arrayFilter(
                (used, allocated) -> allocated > 0,
                arrayMap((a, u) -> a + u, h.active_by_minute, h.unmeasured_by_minute),
                h.allocated_by_minute
            ) AS used_then,
            arrayFilter(allocated -> allocated > 0, h.allocated_by_minute) AS allocated_then,
            arrayMap(minute -> toUInt64(1), allocated_then) AS minutes
        SELECT
            toDate(h.hour) AS day,
            team, model, endpoint, pool, gpu_model,
            sum(h.held) AS held,
            sum(h.unmeasured) AS unmeasured,
            sum(h.mem_ms) > 0 AS mem_known,
            minIf(h.mem_min, h.mem_ms > 0) AS mem_min,
            max(h.mem_max) AS mem_max,
            quantilesExactWeightedArray(0.5, 0.95, 0.99)(h.mem_values, h.mem_weights) AS mem,
            max(h.sm_max) AS sm_max,
            max(notEmpty(h.sm_values)) AS sm_known,
            minArray(h.sm_values) AS sm_min,
            quantilesExactWeightedArray(0.5, 0.95, 0.99)(h.sm_values, h.sm_weights) AS sm,
            quantilesExactArray(0.5, 0.95, 1)(used_then) AS used,
            quantilesExactArray(0.5, 0.95)(allocated_then) AS allocated,
            sumMap(used_then, minutes) AS used_minutes,
            sumMap(allocated_then, minutes) AS allocated_minutes
        FROM hours AS h
        GROUP BY day, team, model, endpoint, pool, gpu_model
    )
SELECT
    day,
    if(d.team = '', 'unattributed', d.team) AS team,
    model,
    endpoint,
    pool,
    gpu_model,
    if(mem_known, d.mem_min, NULL) AS mem_mib_min,
    if(mem_known, greatest(least(d.mem[1] + 8, d.mem_max), d.mem_min), NULL) AS mem_mib_p50,
    if(mem_known, greatest(least(d.mem[2] + 8, d.mem_max), d.mem_min), NULL) AS mem_mib_p95,
    if(mem_known, greatest(least(d.mem[3] + 8, d.mem_max), d.mem_min), NULL) AS mem_mib_p99,
    if(mem_known, d.mem_max, NULL) AS mem_mib_max,
    if(sm_known, d.sm_min, NULL) AS sm_pct_min,
    if(sm_known, d.sm[1], NULL) AS sm_pct_p50,
    if(sm_known, d.sm[2], NULL) AS sm_pct_p95,
    if(sm_known, d.sm[3], NULL) AS sm_pct_p99,
    if(sm_known, d.sm_max, NULL) AS sm_pct_max,
    d.used[1] / 60000 AS used_gpus_p50,
    d.used[2] / 60000 AS used_gpus_p95,
    d.used[3] / 60000 AS used_gpus_max,
    d.allocated[1] / 60000 AS allocated_gpus_p50,
    d.allocated[2] / 60000 AS allocated_gpus_p95,
    mapFromArrays(d.used_minutes.1, d.used_minutes.2) AS used_minutes,
    mapFromArrays(d.allocated_minutes.1, d.allocated_minutes.2) AS allocated_minutes,
    d.held / 3600000 AS held_gpu_hours,
    d.unmeasured / 3600000 AS unmeasured_gpu_hours
FROM days AS d
UNION ALL
SELECT
    day,
    team,
    model,
    endpoint,
    pool,
    gpu_model,
    mem_mib_min,
    mem_mib_p50,
    mem_mib_p95,
    mem_mib_p99,
    mem_mib_max,
    sm_pct_min,
    sm_pct_p50,
    sm_pct_p95,
    sm_pct_p99,
    sm_pct_max,
    used_gpus_p50,
    used_gpus_p95,
    used_gpus_max,
    allocated_gpus_p50,
    allocated_gpus_p95,
    used_minutes,
    allocated_minutes,
    held_gpu_hours,
    unmeasured_gpu_hours
FROM resource_profile_versions FINAL
WHERE day < (SELECT hours_from FROM read_by_hour)
    AND (day, computed_at) IN (SELECT day, max(computed_at) FROM rolled_days GROUP BY day)
COMMENT 'Measured needs of every owner, by day: memory and SM use per GPU, GPUs in use at a time.'
