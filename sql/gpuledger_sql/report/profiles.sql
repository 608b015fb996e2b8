-- title = "Profiles of models and endpoints"
-- keys = ["team", "model", "endpoint", "pool", "gpu_model"]
-- As resource_profile has them by the day, over the whole period: of memory and SM use by time
-- on one GPU, of GPUs in use by the minutes in which anything was allocated.
WITH
    hours AS
    (
        SELECT
            hour, team, model, endpoint, pool, gpu_model,
            sum(u.held_ms) AS held,
            sum(u.unmeasured_ms) AS unmeasured,
            sum(u.mem_known_ms) AS mem_known,
            minIf(u.mem_mib_min, u.mem_known_ms > 0) AS mem_min,
            max(u.mem_mib_max) AS mem_max,
            groupArrayArray(mapKeys(u.mem_mib_histogram)) AS mem_values,
            groupArrayArray(mapValues(u.mem_mib_histogram)) AS mem_weights,
            groupArrayArray(mapKeys(u.sm_pct_histogram)) AS sm_values,
            groupArrayArray(mapValues(u.sm_pct_histogram)) AS sm_weights,
            sumForEach(u.active_gpu_ms_by_minute) AS active_by_minute,
            sumForEach(u.unmeasured_gpu_ms_by_minute) AS unmeasured_by_minute,
            sumForEach(u.allocated_gpu_ms_by_minute) AS allocated_by_minute
        FROM usage_hourly AS u
        WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
            AND {team:String} IN ('', if(team = '', 'unattributed', team))
        GROUP BY hour, team, model, endpoint, pool, gpu_model
    ),
    owners AS
    (
        SELECT
            team, model, endpoint, pool, gpu_model,
            sum(h.held) AS held,
            sum(h.unmeasured) AS unmeasured,
            sum(h.mem_known) AS mem_known,
            minIf(h.mem_min, h.mem_known > 0) AS mem_min,
            max(h.mem_max) AS mem_max,
            quantilesExactWeightedArray(0.5, 0.95, 0.99)(h.mem_values, h.mem_weights) AS mem,
            max(notEmpty(h.sm_values)) AS sm_known,
            quantilesExactWeightedArray(0.5, 0.95, 0.99)(h.sm_values, h.sm_weights) AS sm,
            quantilesExactArray(0.5, 0.95, 1)(arrayFilter(
                (used, allocated) -> allocated > 0,
                arrayMap((a, u) -> a + u, h.active_by_minute, h.unmeasured_by_minute),
                h.allocated_by_minute
            )) AS used,
            quantileExactArray(0.95)(
                arrayFilter(allocated -> allocated > 0, h.allocated_by_minute)
            ) AS allocated
        FROM hours AS h
        GROUP BY team, model, endpoint, pool, gpu_model
    )
SELECT
    if(o.team = '', 'unattributed', o.team) AS team,
    model,
    endpoint,
    pool,
    gpu_model,
    o.held / 3600000 AS held_gpu_hours,
    o.unmeasured / 3600000 AS unmeasured_gpu_hours,
    if(o.mem_known > 0, greatest(least(o.mem[1] + 8, o.mem_max), o.mem_min), NULL) AS mem_mib_p50,
    if(o.mem_known > 0, greatest(least(o.mem[2] + 8, o.mem_max), o.mem_min), NULL) AS mem_mib_p95,
    if(o.mem_known > 0, greatest(least(o.mem[3] + 8, o.mem_max), o.mem_min), NULL) AS mem_mib_p99,
    if(o.mem_known > 0, o.mem_max, NULL) AS mem_mib_max,
    if(o.sm_known, o.sm[1], NULL) AS sm_pct_p50,
    if(o.sm_known, o.sm[2], NULL) AS sm_pct_p95,
    if(o.sm_known, o.sm[3], NULL) AS sm_pct_p99,
    o.used[1] / 60000 AS used_gpus_p50,
    o.used[2] / 60000 AS used_gpus_p95,
    o.used[3] / 60000 AS used_gpus_max,
    o.allocated / 60000 AS allocated_gpus_p95
FROM owners AS o
ORDER BY held_gpu_hours DESC, team, model, endpoint, pool, gpu_model
