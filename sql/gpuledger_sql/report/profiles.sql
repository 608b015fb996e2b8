-- title = "Profiles of models and endpoints"
-- keys = ["team", "model", "endpoint", "pool", "gpu_model"]
-- As resource_profile has them by the day, over the whole period: of memory and SM use by time
-- on one GPU, of GPUs in use by the minutes in which anything was allocated.
WITH
    owners AS
    (
        SELECT
            team, model, endpoint, pool, gpu_model,
            sum(u.held_ms) AS held,
            sum(u.unmeasured_ms) AS unmeasured,
            sum(u.mem_known_ms) AS mem_known,
            minIf(u.mem_mib_min, u.mem_known_ms > 0) AS mem_min,
            max(u.mem_mib_max) AS mem_max,
            quantilesExactWeightedArray(0.5, 0.95, 0.99)(
                mapKeys(u.mem_mib_histogram), mapValues(u.mem_mib_histogram)
            ) AS mem,
            max(notEmpty(u.sm_pct_histogram)) AS sm_known,
            quantilesExactWeightedArray(0.5, 0.95, 0.99)(
                mapKeys(u.sm_pct_histogram), mapValues(u.sm_pct_histogram)
            ) AS sm
        FROM usage_hourly AS u
        WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
            AND {team:String} IN ('', if(team = '', 'unattributed', team))
        GROUP BY team, model, endpoint, pool, gpu_model
    ),
    hours AS
    (
        SELECT
            hour, team, model, endpoint, pool, gpu_model,
            sumForEach(u.allocated_gpu_ms_by_minute) AS allocated,
            sumForEach(arrayMap(
                (active, unmeasured) -> active + unmeasured,
                u.active_gpu_ms_by_minute, u.unmeasured_gpu_ms_by_minute
            )) AS used
        FROM usage_hourly AS u
        WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
            AND {team:String} IN ('', if(team = '', 'unattributed', team))
        GROUP BY hour, team, model, endpoint, pool, gpu_model
    ),
    minutes AS
    (
        SELECT
            team, model, endpoint, pool, gpu_model,
            quantileExactArray(0.95)(arrayFilter(ms -> ms > 0, h.allocated)) AS allocated,
            quantilesExactArray(0.5, 0.95, 1)(
                arrayFilter((ms, granted) -> granted > 0, h.used, h.allocated)
            ) AS used
        FROM hours AS h
        GROUP BY team, model, endpoint, pool, gpu_model
    )
SELECT
    if(o.team = '', 'unattributed', o.team) AS team,
    o.model AS model,
    o.endpoint AS endpoint,
    o.pool AS pool,
    o.gpu_model AS gpu_model,
    o.held / 3600000 AS held_gpu_hours,
    o.unmeasured / 3600000 AS unmeasured_gpu_hours,
    if(o.mem_known > 0, greatest(least(o.mem[1] + 8, o.mem_max), o.mem_min), NULL) AS mem_mib_p50,
    if(o.mem_known > 0, greatest(least(o.mem[2] + 8, o.mem_max), o.mem_min), NULL) AS mem_mib_p95,
    if(o.mem_known > 0, greatest(least(o.mem[3] + 8, o.mem_max), o.mem_min), NULL) AS mem_mib_p99,
    if(o.mem_known > 0, o.mem_max, NULL) AS mem_mib_max,
    if(o.sm_known, o.sm[1], NULL) AS sm_pct_p50,
    if(o.sm_known, o.sm[2], NULL) AS sm_pct_p95,
    if(o.sm_known, o.sm[3], NULL) AS sm_pct_p99,
    m.used[1] / 60000 AS used_gpus_p50,
    m.used[2] / 60000 AS used_gpus_p95,
    m.used[3] / 60000 AS used_gpus_max,
    m.allocated / 60000 AS allocated_gpus_p95
FROM owners AS o
INNER JOIN minutes AS m
    ON m.team = o.team AND m.model = o.model AND m.endpoint = o.endpoint
    AND m.pool = o.pool AND m.gpu_model = o.gpu_model
ORDER BY held_gpu_hours DESC, team, model, endpoint, pool, gpu_model
