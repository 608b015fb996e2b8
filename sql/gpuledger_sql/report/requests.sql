-- title = "Capacity requests beside their use"
-- keys = ["id"]
WITH
    (SELECT prices FROM gpu_price_list) AS prices
SELECT
    r.id AS id,
    r.team AS team,
    r.owner AS owner,
    r.pool AS pool,
    r.model AS model,
    r.endpoint AS endpoint,
    r.use_case AS use_case,
    r.gpu_model AS gpu_model,
    r.status AS status,
    r.verdict AS verdict,
    r.requested_gpus AS requested_gpus,
    r.allocated_gpus_p95 AS allocated_gpus_p95,
    r.used_gpus_p50 AS used_gpus_p50,
    r.used_gpus_p95 AS used_gpus_p95,
    r.used_gpus_max AS used_gpus_max,
    if(r.verdict IN ('unused', 'oversized'), r.reclaimable_gpus, 0) AS reclaimable_gpus,
    168 * reclaimable_gpus * arrayFirst(
        price -> price.priced_from <= now()
            AND price.pool IN ('', r.pool)
            AND (price.gpu_model = '' OR position(lowerUTF8(g.fleet_gpu_model), price.gpu_model) > 0),
        prices
    ).usd_per_gpu_hour AS reclaimable_usd_per_week,
    r.gpu_memory_gib AS expected_memory_gib,
    r.measured_memory_gib_p99 AS measured_memory_gib_p99,
    r.expected_sm_pct AS expected_sm_pct,
    r.measured_sm_pct AS measured_sm_pct,
    r.observed_hours AS observed_hours
FROM request_review AS r
LEFT JOIN request_groups AS g
    ON g.team = r.team AND g.pool = r.pool AND g.model = r.model AND g.endpoint = r.endpoint
    AND g.use_case = r.use_case AND lowerUTF8(g.gpu_model) = lowerUTF8(r.gpu_model)
WHERE {team:String} IN ('', r.team)
ORDER BY r.verdict = 'not_in_force', reclaimable_usd_per_week DESC NULLS LAST, reclaimable_gpus DESC, id
