-- description = "A pool is going to be full soon if it grows as it has in the last four weeks."
-- remedy = "Ask gpuledger plan which waste would cover the growth; have that back, move work to another pool, or order GPUs."
-- severity = "warning"
-- [thresholds]
-- max_days = { default = 30, unit = "days", meaning = "Told when it is likely full within so many days" }
-- max_days_latest = { default = 90, unit = "days", meaning = "and within so many even if it grows as slowly as the forecast allows" }
-- min_trend_days = { default = 21, unit = "days", meaning = "Least days of telemetry that the forecast rests on" }
WITH
    newest AS
    (
        SELECT
            hour, pool, gpu_model, capacity_gpus, requested_gpus, allocated_gpus, level_gpus,
            trend_gpus_per_day, trend_error_gpus_per_day, trend_days,
            days_to_full, days_to_full_earliest, days_to_full_latest
        FROM pool_headroom AS h
        WHERE h.days_to_full <= {max_days:Float64}
        ORDER BY hour DESC
        LIMIT 1 BY pool, gpu_model
    )
SELECT
    trim(concat(n.pool, ' ', n.gpu_model)) AS subject,
    '' AS team,
    n.pool AS pool,
    CAST(NULL AS Nullable(Float64)) AS usd,
    map(
        'days_to_full', toString(floor(n.days_to_full)),
        'days_to_full_earliest', ifNull(toString(floor(n.days_to_full_earliest)), ''),
        'days_to_full_latest', ifNull(toString(floor(n.days_to_full_latest)), ''),
        'full_on', toString(toDate(n.hour) + toUInt32(n.days_to_full)),
        'capacity_gpus', toString(round(n.capacity_gpus, 1)),
        'requested_gpus', toString(round(n.requested_gpus, 1)),
        'allocated_gpus', toString(round(n.allocated_gpus, 1)),
        'level_gpus', toString(round(n.level_gpus, 1)),
        'trend_gpus_per_week', toString(round(7 * n.trend_gpus_per_day, 2)),
        'trend_error_gpus_per_week', toString(round(7 * n.trend_error_gpus_per_day, 2)),
        'trend_days', toString(n.trend_days)
    ) AS evidence
FROM newest AS n
WHERE n.trend_days >= {min_trend_days:Float64}
    AND (
        -- Full and no longer growing, because nothing is left to grow into.
        (n.days_to_full = 0 AND n.requested_gpus >= n.capacity_gpus + 1)
        OR (n.trend_gpus_per_day > 2 * n.trend_error_gpus_per_day
            AND n.days_to_full_latest <= {max_days_latest:Float64})
    )
