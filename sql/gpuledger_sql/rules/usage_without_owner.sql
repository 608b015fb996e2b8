-- description = "Processes or grants hold GPUs and no team stands for them."
-- remedy = "Find the user, then label the workload or write an attribution rule (docs/attribution.md)."
-- severity = "warning"
-- [thresholds]
-- lookback_hours = { default = 24, unit = "hours", meaning = "How far back to look" }
-- min_gpu_hours = { default = 1, unit = "GPU-hours", meaning = "Least use in that time" }
WITH
    (SELECT prices FROM gpu_price_list) AS prices,
    (SELECT max(c.last_seen) FROM capacity_hourly AS c) AS newest
SELECT
    concat(
        if(w.process_name = '', 'grants or work without a process', w.process_name),
        if(w.user = '', '', concat(' by ', w.user)),
        if(w.cluster = '', '', concat(' in ', w.cluster))
    ) AS subject,
    '' AS team,
    if(uniqExact(w.pool) = 1, any(w.pool), '') AS pool,
    168 / {lookback_hours:Float64} * sum((w.held_ms + w.unheld_ms) / 3600000 * arrayFirst(
        price -> price.priced_from <= {now:DateTime('UTC')}
            AND price.pool IN ('', w.host_pool)
            AND (price.gpu_model = '' OR position(lowerUTF8(w.gpu_model), price.gpu_model) > 0),
        prices
    ).usd_per_gpu_hour) AS usd,
    map(
        'gpu_hours', toString(round(sum(w.held_ms + w.unheld_ms) / 3600000, 2)),
        'busy_gpu_hours', toString(round(sum(w.busy_ms) / 3600000, 2)),
        'gpus', toString(uniqExact(w.host, w.gpu)),
        'hosts', toString(uniqExact(w.host)),
        'example_host', argMax(w.host, w.last_seen),
        'example_workload', argMax(w.workload, w.last_seen),
        'last_seen', toString(max(w.last_seen))
    ) AS evidence
FROM workload_hourly AS w
WHERE w.team = '' AND w.hour >= newest - toIntervalSecond(3600 * {lookback_hours:Float64})
GROUP BY w.cluster, w.process_name, w.user
HAVING sum(w.held_ms + w.unheld_ms) / 3600000 >= {min_gpu_hours:Float64}
