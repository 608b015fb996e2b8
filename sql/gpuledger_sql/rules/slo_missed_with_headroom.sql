-- description = "An endpoint misses its objective although its GPUs are not full."
-- remedy = "No more GPUs: they have room. Look at batching, quantization and routing, at what requests wait for, and at failures."
-- severity = "warning"
-- [thresholds]
-- lookback_hours = { default = 24, unit = "hours", meaning = "How far back to look" }
-- min_missed_hours = { default = 2, unit = "hours", meaning = "Fewest hours that missed the objective" }
-- full_load_pct = { default = 85, unit = "percent", meaning = "From which load on, SM or KV cache, an endpoint counts as full" }
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
            avgIf(a.load_pct, a.outcome = 'missed') AS missed_load_pct,
            avg(a.gpus) AS gpus
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
    CAST(NULL AS Nullable(Float64)) AS usd,
    map(
        'hours_judged', toString(e.judged),
        'hours_met', toString(e.met),
        'hours_missed', toString(e.missed),
        'target_attainment_pct', toString(e.goal),
        'missed_load_pct', toString(round(e.missed_load_pct, 1)),
        'gpus', toString(round(e.gpus, 2)),
        'proposed_requests', arrayStringConcat(arraySort(asked.1), ', ')
    ) AS evidence
FROM endpoints AS e
LEFT JOIN proposals AS p ON p.team = e.team
WHERE e.missed >= {min_missed_hours:Float64}
    AND 100 * (e.judged - e.missed) / e.judged < e.goal
    AND e.missed_load_pct < {full_load_pct:Float64}
