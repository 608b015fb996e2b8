-- description = "A team uses GPUs that it never asked for."
-- remedy = "Ask the team for a capacity request, or stop the work."
-- severity = "warning"
-- [thresholds]
-- lookback_hours = { default = 24, unit = "hours", meaning = "How far back to look" }
-- min_gpu_hours = { default = 1, unit = "GPU-hours", meaning = "Least use in that time" }
WITH
    (SELECT prices FROM gpu_price_list) AS prices,
    (SELECT max(c.last_seen) FROM capacity_hourly AS c) AS newest
SELECT
    concat(u.team, if(u.model = '', '', concat(' ', u.model)), if(u.pool = '', '', concat(' in ', u.pool))) AS subject,
    u.team AS team,
    u.pool AS pool,
    168 / {lookback_hours:Float64} * sum(u.allocated_gpu_hours * arrayFirst(
        price -> price.priced_from <= {now:DateTime('UTC')}
            AND price.pool IN ('', u.host_pool)
            AND (price.gpu_model = '' OR position(lowerUTF8(u.gpu_model), price.gpu_model) > 0),
        prices
    ).usd_per_gpu_hour) AS usd,
    map(
        'model', toString(u.model),
        'gpu_hours', toString(round(sum(u.allocated_gpu_hours), 2)),
        'gpu_models', arrayStringConcat(arraySort(groupUniqArray(u.gpu_model)), ', '),
        'endpoints', arrayStringConcat(arraySort(groupUniqArray(10)(u.endpoint)), ', '),
        'last_hour', toString(max(u.hour))
    ) AS evidence
FROM unrequested_usage AS u
WHERE u.ended_request = ''
    AND u.hour >= newest - toIntervalSecond(3600 * {lookback_hours:Float64})
GROUP BY u.team, u.model, u.pool
HAVING sum(u.allocated_gpu_hours) >= {min_gpu_hours:Float64}
