-- description = "An endpoint meets its objective at low utilization, also in its busiest hours."
-- remedy = "No more GPUs for it: decline what proposed_requests names. Better batching, quantization or routing would free some of those it has."
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
            avg(a.gpus) AS gpus
        FROM slo_attainment AS a
        WHERE a.hour >= newest - toIntervalSecond(3600 * {lookback_hours:Float64})
        GROUP BY team, model, endpoint
    ),
    asked AS
    (
        SELECT
            e.team AS team, e.model AS model, e.endpoint AS endpoint,
            arrayStringConcat(arraySort(groupArray(p.id)), ', ') AS ids,
            any(p.pool) AS pool,
            sum(p.usd_per_hour) AS usd_per_hour
        FROM endpoints AS e
        INNER JOIN proposed_requests AS p ON p.team = e.team
        WHERE p.model IN ('', e.model) AND p.endpoint IN ('', e.endpoint)
        GROUP BY team, model, endpoint
    )
SELECT
    arrayStringConcat(arrayFilter(part -> part != '', [e.team, e.model, e.endpoint]), ' ') AS subject,
    e.team AS team,
    a.pool AS pool,
    168 * a.usd_per_hour AS usd,
    map(
        'hours_judged', toString(e.judged),
        'hours_met', toString(e.met),
        'hours_missed', toString(e.missed),
        'target_attainment_pct', toString(e.goal),
        'load_pct_p95', toString(round(e.load_pct_p95, 1)),
        'gpus', toString(round(e.gpus, 2)),
        'proposed_requests', a.ids
    ) AS evidence
FROM endpoints AS e
LEFT JOIN asked AS a ON a.team = e.team AND a.model = e.model AND a.endpoint = e.endpoint
WHERE e.weighed >= {min_judged_hours:Float64}
    AND 100 * e.met / e.judged >= e.goal
    AND e.load_pct_p95 <= {max_load_pct:Float64}
