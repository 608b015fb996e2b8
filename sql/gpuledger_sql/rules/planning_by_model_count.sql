-- description = "A few models of a pool carry the traffic, and others, little used, have most of the GPUs."
-- remedy = "Size by traffic, not by the number of models: let those in `tail` share GPUs, and give the `head` what it needs."
-- severity = "warning"
-- [thresholds]
-- lookback_hours = { default = 168, unit = "hours", meaning = "How far back to look" }
-- min_observed_hours = { default = 24, unit = "hours", meaning = "Fewest hours with traffic telemetry to judge by" }
-- min_requests = { default = 1000, unit = "requests", meaning = "Fewest requests to judge by" }
-- min_models = { default = 4, unit = "models", meaning = "Fewest models that a pool serves" }
-- head_request_pct = { default = 90, unit = "percent", meaning = "Share of the requests that the head carries" }
-- max_tail_load_pct = { default = 30, unit = "percent", meaning = "Highest load of another model, SM or KV cache, mean, at which its GPUs count as little used" }
-- min_tail_gpu_pct = { default = 50, unit = "percent", meaning = "Least share of the GPUs of these models that the little used have" }
-- min_tail_gpus = { default = 2, unit = "GPUs", meaning = "Fewest GPUs that the little used have, mean" }
WITH
    (SELECT prices FROM gpu_price_list) AS prices,
    (SELECT max(c.last_seen) FROM capacity_hourly AS c) AS newest,
    served AS
    (
        SELECT
            pool, model,
            sum(t.requests) AS requests,
            groupUniqArray(t.hour) AS hours,
            if(sum(t.kv_cache_known_ms) = 0, NULL, sum(t.kv_cache_pct_ms) / sum(t.kv_cache_known_ms)) AS kv_cache_pct
        FROM traffic_hourly AS t
        WHERE t.hour >= newest - toIntervalSecond(3600 * {lookback_hours:Float64})
        GROUP BY pool, model
    ),
    gpus AS
    (
        SELECT
            pool, model,
            sum(u.held_ms + u.unheld_ms) / 3600000 AS gpu_hours,
            if(sum(u.held_ms + u.unheld_ms - u.unmeasured_ms) = 0, NULL,
                100 * sum(u.busy_ms) / sum(u.held_ms + u.unheld_ms - u.unmeasured_ms)) AS sm_pct,
            sum((u.held_ms + u.unheld_ms - u.busy_ms - u.unmeasured_ms) / 3600000 * arrayFirst(
                price -> price.priced_from <= {now:DateTime('UTC')}
                    AND price.pool IN ('', u.host_pool)
                    AND (price.gpu_model = '' OR position(lowerUTF8(u.gpu_model), price.gpu_model) > 0),
                prices
            ).usd_per_gpu_hour) AS waste_usd
        FROM usage_hourly AS u
        WHERE u.hour >= newest - toIntervalSecond(3600 * {lookback_hours:Float64})
        GROUP BY pool, model
    ),
    ranked AS
    (
        SELECT
            s.pool AS pool, s.model AS model, s.requests AS requests, s.hours AS hours,
            g.gpu_hours AS gpu_hours,
            g.waste_usd AS waste_usd,
            -- Carried by models that are asked more; the head ends with the model that fills it up.
            100 * (sum(s.requests) OVER by_requests - s.requests) < {head_request_pct:Float64} * sum(s.requests) OVER of_pool AS in_head,
            greatest(ifNull(g.sm_pct, s.kv_cache_pct), ifNull(s.kv_cache_pct, g.sm_pct)) AS load_pct,
            -- A request of one model may be the work of a thousand of another: whoever is busy, or
            -- may be, is not in the tail.
            NOT in_head AND ifNull(load_pct <= {max_tail_load_pct:Float64}, 0) AS in_tail
        FROM served AS s
        LEFT JOIN gpus AS g ON g.pool = s.pool AND g.model = s.model
        WINDOW
            of_pool AS (PARTITION BY s.pool),
            by_requests AS (PARTITION BY s.pool ORDER BY s.requests DESC, s.model ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    ),
    pools AS
    (
        SELECT
            pool,
            count() AS models,
            sum(r.requests) AS requests,
            length(groupUniqArrayArray(r.hours)) AS observed_hours,
            sumIf(r.requests, r.in_head) AS head_requests,
            sumIf(r.gpu_hours, r.in_tail) AS tail_gpu_hours,
            sum(r.gpu_hours) AS gpu_hours,
            sumIf(r.waste_usd, r.in_tail) AS tail_waste_usd,
            arraySort(groupArrayIf(toString(r.model), r.in_head)) AS head,
            arraySort(groupArrayIf(toString(r.model), r.in_tail)) AS tail
        FROM ranked AS r
        GROUP BY pool
    )
SELECT
    if(p.pool = '', 'models without a pool', toString(p.pool)) AS subject,
    '' AS team,
    p.pool AS pool,
    168 * p.tail_waste_usd / p.observed_hours AS usd,
    map(
        'models', toString(p.models),
        'requests', toString(p.requests),
        'head', arrayStringConcat(arraySlice(p.head, 1, 20), ', '),
        'head_request_pct', toString(round(100 * p.head_requests / p.requests, 1)),
        'tail', arrayStringConcat(arraySlice(p.tail, 1, 20), ', '),
        'tail_models', toString(length(p.tail)),
        'tail_gpus', toString(round(p.tail_gpu_hours / p.observed_hours, 2)),
        'tail_gpu_pct', toString(round(100 * p.tail_gpu_hours / p.gpu_hours, 1)),
        'observed_hours', toString(p.observed_hours)
    ) AS evidence
FROM pools AS p
WHERE p.models >= {min_models:Float64}
    AND p.requests >= {min_requests:Float64}
    AND p.observed_hours >= {min_observed_hours:Float64}
    AND p.tail_gpu_hours >= p.gpu_hours * {min_tail_gpu_pct:Float64} / 100
    AND p.tail_gpu_hours / p.observed_hours >= {min_tail_gpus:Float64}
