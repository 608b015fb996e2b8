-- description = "Small models of a pool would fit together on fewer GPUs, by measured p99 of memory and p95 of SM use."
-- remedy = "Try the packing on one GPU and watch latency; then move the rest."
-- severity = "info"
-- [thresholds]
-- min_saved_gpus = { default = 1, unit = "GPUs", meaning = "Fewest that it frees" }
-- min_observed_hours = { default = 24, unit = "hours", meaning = "Least hours with telemetry of such GPUs in the last seven days" }
WITH
    (SELECT prices FROM gpu_price_list) AS prices,
    (SELECT max(c.last_seen) FROM capacity_hourly AS c) AS newest,
    observed AS
    (
        SELECT gpu_model, uniqExact(c.hour) AS hours
        FROM capacity_hourly AS c
        WHERE c.hour >= newest - INTERVAL 7 DAY
        GROUP BY gpu_model
    )
SELECT
    concat(if(c.pool = '', '', concat(c.pool, ' ')), c.gpu_model) AS subject,
    '' AS team,
    c.pool AS pool,
    168 * any(c.saved_gpus) * arrayFirst(
        price -> price.priced_from <= {now:DateTime('UTC')}
            AND price.pool IN ('', c.pool)
            AND (price.gpu_model = '' OR position(lowerUTF8(c.gpu_model), price.gpu_model) > 0),
        prices
    ).usd_per_gpu_hour AS usd,
    map(
        'gpus_now', toString(any(c.pool_gpus_now)),
        'gpus_needed', toString(any(c.pool_gpus_needed)),
        'saved_gpus', toString(any(c.saved_gpus)),
        'models', toString(count()),
        'packing', arrayStringConcat(
            arraySlice(arraySort(groupArray(concat(
                toString(c.fits_on), ': ', c.team, if(c.model = '', '', concat(' ', c.model))
            ))), 1, 20),
            '; '
        )
    ) AS evidence
FROM consolidation_candidates AS c
INNER JOIN observed AS o ON o.gpu_model = c.gpu_model
WHERE c.saved_gpus >= {min_saved_gpus:Float64} AND o.hours >= {min_observed_hours:Float64}
GROUP BY c.pool, c.gpu_model
