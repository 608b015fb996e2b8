-- description = "The memory of an owner's processes swings: its 99th percentile is far above its median."
-- remedy = "Size by mem_mib_p99, not by what is usual: placed by the median, it runs out of memory. Look for growing caches and batches without a limit."
-- severity = "info"
-- [thresholds]
-- min_ratio = { default = 2, unit = "times", meaning = "Least 99th percentile over median" }
-- min_swing_mib = { default = 8192, unit = "MiB", meaning = "Least 99th percentile minus median, on one GPU" }
-- min_known_hours = { default = 24, unit = "hours", meaning = "Least time with a process whose memory is known, summed over GPUs" }
-- lookback_hours = { default = 168, unit = "hours", meaning = "How far back to look" }
WITH
    (SELECT max(c.last_seen) FROM capacity_hourly AS c) AS newest,
    owners AS
    (
        SELECT
            team, model, endpoint, pool, gpu_model,
            sum(u.mem_known_ms) / 3600000 AS known_hours,
            max(u.mem_mib_max) AS highest,
            quantilesExactWeightedArray(0.5, 0.99)(
                mapKeys(u.mem_mib_histogram), mapValues(u.mem_mib_histogram)
            ) AS mem
        FROM usage_hourly AS u
        WHERE u.team != '' AND u.hour >= newest - toIntervalSecond(3600 * {lookback_hours:Float64})
        GROUP BY team, model, endpoint, pool, gpu_model
    )
SELECT
    concat(
        arrayStringConcat(arrayFilter(part -> part != '', [o.team, o.model, o.endpoint]), ' '),
        if(o.pool = '', '', concat(' in ', o.pool)),
        ' on ', o.gpu_model
    ) AS subject,
    o.team AS team,
    o.pool AS pool,
    CAST(NULL AS Nullable(Float64)) AS usd,
    map(
        'model', toString(o.model),
        'endpoint', toString(o.endpoint),
        'mem_mib_p50', toString(o.mem[1]),
        'mem_mib_p99', toString(o.mem[2]),
        'mem_mib_max', toString(o.highest),
        'ratio', toString(round(o.mem[2] / o.mem[1], 2)),
        'known_hours', toString(round(o.known_hours, 1))
    ) AS evidence
FROM owners AS o
WHERE o.known_hours >= {min_known_hours:Float64}
    AND o.mem[2] >= o.mem[1] * {min_ratio:Float64}
    AND o.mem[2] - o.mem[1] >= {min_swing_mib:Float64}
