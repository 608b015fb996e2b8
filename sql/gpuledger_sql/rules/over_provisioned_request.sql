-- description = "A team asks for more GPUs than it uses at a time, by the 95th percentile of minutes."
-- remedy = "Lower gpus in the request to used_gpus_p95, or withdraw it if nothing uses it."
-- severity = "warning"
-- [thresholds]
-- min_reclaimable_gpus = { default = 1, unit = "GPUs", meaning = "Fewest that could be had back" }
-- min_reclaimable_pct = { default = 10, unit = "percent", meaning = "Least part of the request that could be had back" }
-- min_observed_hours = { default = 72, unit = "hours", meaning = "Least telemetry to judge a request by: longer than any weekend" }
WITH
    (SELECT prices FROM gpu_price_list) AS prices
SELECT
    r.id AS subject,
    r.team AS team,
    r.pool AS pool,
    168 * r.reclaimable_gpus * arrayFirst(
        price -> price.priced_from <= {now:DateTime('UTC')}
            AND price.pool IN ('', g.pool)
            AND (price.gpu_model = '' OR position(lowerUTF8(g.fleet_gpu_model), price.gpu_model) > 0),
        prices
    ).usd_per_gpu_hour AS usd,
    map(
        'verdict', toString(r.verdict),
        'owner', r.owner,
        'model', toString(r.model),
        'endpoint', toString(r.endpoint),
        'requested_gpus', toString(r.requested_gpus),
        'allocated_gpus_p95', toString(r.allocated_gpus_p95),
        'used_gpus_p95', toString(r.used_gpus_p95),
        'used_gpus_max', toString(r.used_gpus_max),
        'reclaimable_gpus', toString(r.reclaimable_gpus),
        'observed_hours', toString(round(r.observed_hours, 1))
    ) AS evidence
FROM request_review AS r
LEFT JOIN request_groups AS g
    ON g.team = r.team AND g.pool = r.pool AND g.model = r.model AND g.endpoint = r.endpoint
    AND g.use_case = r.use_case AND lowerUTF8(g.gpu_model) = lowerUTF8(r.gpu_model)
WHERE r.verdict IN ('oversized', 'unused')
    AND r.observed_hours >= {min_observed_hours:Float64}
    AND r.reclaimable_gpus >= {min_reclaimable_gpus:Float64}
    AND r.reclaimable_gpus >= r.requested_gpus * {min_reclaimable_pct:Float64} / 100
