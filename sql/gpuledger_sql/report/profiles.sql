-- title = "Profiles of models and endpoints"
-- keys = ["team", "model", "endpoint", "pool", "gpu_model"]
-- As resource_profile has them by the day, over the whole period: of memory and SM use by time
-- on one GPU, of GPUs in use by the minutes in which anything was allocated. Whole days are read
-- as such: their histograms add up.
WITH
    greatest(
        toDate({since:DateTime('UTC')} + INTERVAL 86399 SECOND),
        (SELECT toDate(hourly_from) FROM kept_from)
    ) AS days_from,
    greatest(toDate({until:DateTime('UTC')}), days_from) AS days_until,
    (
        hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
        AND (hour < toDateTime(days_from, 'UTC') OR hour >= toDateTime(days_until, 'UTC'))
    ) AS beside_days,
    owners AS
    (
        SELECT
            team, model, endpoint, pool, gpu_model,
            sum(p.held_ms) AS held,
            sum(p.unmeasured_ms) AS unmeasured,
            sum(p.mem_known_ms) AS mem_known,
            minIf(p.mem_mib_min, p.mem_known_ms > 0) AS mem_min,
            max(p.mem_mib_max) AS mem_max,
            quantilesExactWeightedArray(0.5, 0.95, 0.99)(
                mapKeys(p.mem_mib_histogram), mapValues(p.mem_mib_histogram)
            ) AS mem,
            max(notEmpty(p.sm_pct_histogram)) AS sm_known,
            quantilesExactWeightedArray(0.5, 0.95, 0.99)(
                mapKeys(p.sm_pct_histogram), mapValues(p.sm_pct_histogram)
            ) AS sm
        FROM
        (
            SELECT
                if(d.team = '', 'unattributed', d.team) AS team, model, endpoint, pool, gpu_model,
                held_ms, unmeasured_ms, mem_known_ms, mem_mib_min, mem_mib_max,
                mem_mib_histogram, sm_pct_histogram
            FROM usage_daily AS d
            WHERE day >= days_from AND day < days_until
            UNION ALL
            SELECT
                if(u.team = '', 'unattributed', u.team), model, endpoint, pool, gpu_model,
                held_ms, unmeasured_ms, mem_known_ms, mem_mib_min, mem_mib_max,
                mem_mib_histogram, sm_pct_histogram
            FROM usage_hourly AS u
            WHERE beside_days
        ) AS p
        WHERE {team:String} IN ('', team)
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
        WHERE beside_days
        GROUP BY hour, team, model, endpoint, pool, gpu_model
    ),
    minutes AS
    (
        -- Each the value at which quantileExact stands: of n, the one after level x n.
        SELECT
            team, model, endpoint, pool, gpu_model,
            sumMap(p.used, p.used_minutes) AS used_sums,
            sumMap(p.allocated, p.allocated_minutes) AS allocated_sums,
            arraySum(used_sums.2) AS n,
            arrayMap(
                level -> arrayFirst(
                    (ms, upto) -> upto > least(toUInt64(level * n), n - 1),
                    used_sums.1, arrayCumSum(used_sums.2)
                ),
                [0.5, 0.95, 1]
            ) AS used,
            arrayFirst(
                (ms, upto) -> upto > toUInt64(0.95 * n),
                allocated_sums.1, arrayCumSum(allocated_sums.2)
            ) AS allocated
        FROM
        (
            SELECT
                team, model, endpoint, pool, gpu_model,
                mapKeys(d.used_minutes) AS used,
                mapValues(d.used_minutes) AS used_minutes,
                mapKeys(d.allocated_minutes) AS allocated,
                mapValues(d.allocated_minutes) AS allocated_minutes
            FROM resource_profile AS d
            WHERE day >= days_from AND day < days_until
            UNION ALL
            SELECT
                if(h.team = '', 'unattributed', h.team), model, endpoint, pool, gpu_model,
                arrayFilter((ms, granted) -> granted > 0, h.used, h.allocated) AS used,
                arrayMap(ms -> toUInt64(1), used),
                arrayFilter(granted -> granted > 0, h.allocated) AS allocated,
                arrayMap(ms -> toUInt64(1), allocated)
            FROM hours AS h
        ) AS p
        WHERE {team:String} IN ('', team)
        GROUP BY team, model, endpoint, pool, gpu_model
    )
SELECT
    o.team AS team,
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
