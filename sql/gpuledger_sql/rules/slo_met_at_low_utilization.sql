-- description = "An endpoint meets its objective at low utilization, also in its busiest hours."
-- remedy = "No more GPUs for it: decline what proposed_requests names. gpus_needed would do for its busiest hours; better batching, quantization or routing may free more."
-- severity = "info"
-- [thresholds]
-- lookback_hours = { default = 168, unit = "hours", meaning = "How far back to look" }
-- min_judged_hours = { default = 72, unit = "hours", meaning = "Fewest hours to judge by, their load known: more than a weekend" }
-- max_load_pct = { default = 70, unit = "percent", meaning = "Highest load, SM or KV cache, of 95 in 100 of these hours" }
WITH
    (SELECT max(c.last_seen) FROM capacity_hourly AS c) AS newest,
    endpoints AS
    (
        SELECT
            team, model, endpoint,
            countIf(a.outcome IN ('met', 'missed', 'unclear')) AS judged,
            countIf(a.outcome = 'met') AS met,
            countIf(a.outcome = 'missed') AS missed,
            argMaxIf(a.target_attainment_pct, a.hour, a.outcome IN ('met', 'missed', 'unclear')) AS goal,
            countIf(a.outcome IN ('met', 'missed', 'unclear') AND a.load_pct IS NOT NULL) AS weighed,
            quantileExactIf(0.95)(a.load_pct, a.outcome IN ('met', 'missed', 'unclear')) AS load_pct_p95,
            avg(a.gpus) AS gpus,
            quantileExactIf(0.95)(a.gpus, a.outcome IN ('met', 'missed', 'unclear')) AS gpus_p95,
            -- How many would carry what these carried, were they as full as they may be.
            ceil(quantileExactIf(0.95)(a.gpus * a.load_pct, a.outcome IN ('met', 'missed', 'unclear'))
                / {max_load_pct:Float64}) AS gpus_needed
        FROM slo_attainment AS a
        WHERE a.hour >= newest - toIntervalSecond(3600 * {lookback_hours:Float64})
        GROUP BY team, model, endpoint
    ),
    proposals AS
    (
        SELECT team, groupArray((p.id, toString(p.pool), toString(p.model), toString(p.endpoint), p.usd_per_hour)) AS said
        FROM proposed_requests AS p
        GROUP BY team
    )
SELECT
    arrayStringConcat(arrayFilter(part -> part != '', [e.team, e.model, e.endpoint]), ' ') AS subject,
    e.team AS team,
    (arrayFilter(q -> q.3 IN ('', e.model) AND q.4 IN ('', e.endpoint), p.said) AS asked).2[1] AS pool,
    168 * arrayReduce('sumOrNull', asked.5) AS usd,
    map(
        'hours_judged', toString(e.judged),
        'hours_met', toString(e.met),
        'hours_missed', toString(e.missed),
        'target_attainment_pct', toString(e.goal),
        'load_pct_p95', toString(round(e.load_pct_p95, 1)),
        'gpus', toString(round(e.gpus, 2)),
        'gpus_needed', toString(e.gpus_needed),
        'proposed_requests', arrayStringConcat(arraySort(asked.1), ', ')
    ) AS evidence
FROM endpoints AS e
LEFT JOIN proposals AS p ON p.team = e.team
WHERE e.weighed >= {min_judged_hours:Float64}
    AND 100 * e.met / e.judged >= e.goal
    AND e.load_pct_p95 <= {max_load_pct:Float64}
    -- Of one GPU, or two that are more than half as full, none can be spared.
    AND (notEmpty(asked) OR e.gpus_needed <= e.gpus_p95 - 1)
