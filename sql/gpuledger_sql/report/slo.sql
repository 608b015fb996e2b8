-- title = "Objectives against utilization"
-- keys = ["team", "model", "endpoint"]
-- As scaling_verdict has it by the day, over the hours of the period.
WITH
    endpoints AS
    (
        SELECT
            team, model, endpoint,
            sum(a.requests) AS requests,
            sum(a.errors) AS errors,
            countIf(a.outcome = 'met') AS hours_met,
            countIf(a.outcome = 'missed') AS hours_missed,
            countIf(a.outcome = 'unclear') AS hours_unclear,
            hours_met + hours_missed + hours_unclear AS hours_judged,
            argMaxIf(a.target_latency_ms, a.hour, a.target_latency_ms IS NOT NULL) AS target_latency_ms,
            argMaxIf(a.target_percentile, a.hour, a.target_percentile IS NOT NULL) AS target_percentile,
            argMaxIf(a.target_attainment_pct, a.hour, a.outcome IN ('met', 'missed', 'unclear')) AS target_attainment_pct,
            max(a.latency_ms_p95) AS latency_ms_p95_worst_hour,
            avgIf(a.load_pct, a.requests > 0) AS load_pct_mean,
            maxIf(a.load_pct, a.requests > 0) AS load_pct_peak,
            avgIf(a.load_pct, a.outcome = 'missed') AS missed_load_pct,
            avg(a.gpus) AS gpus
        FROM slo_attainment AS a
        WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
            AND {team:String} IN ('', team)
        GROUP BY team, model, endpoint
    )
SELECT
    team,
    model,
    endpoint,
    requests,
    errors,
    hours_judged,
    hours_met,
    hours_missed,
    hours_unclear,
    if(e.hours_judged = 0, NULL, 100 * e.hours_met / e.hours_judged) AS attainment_pct_low,
    if(e.hours_judged = 0, NULL, 100 * (e.hours_met + e.hours_unclear) / e.hours_judged) AS attainment_pct_high,
    target_attainment_pct,
    target_latency_ms,
    target_percentile,
    latency_ms_p95_worst_hour,
    load_pct_mean,
    load_pct_peak,
    missed_load_pct,
    gpus,
    multiIf(
        e.hours_judged = 0, 'no_objective',
        attainment_pct_low >= e.target_attainment_pct, 'enough',
        attainment_pct_high >= e.target_attainment_pct OR e.missed_load_pct IS NULL, 'unclear',
        e.missed_load_pct < 85, 'tune',
        'grow'
    ) AS verdict
FROM endpoints AS e
ORDER BY verdict = 'no_objective', hours_missed DESC, requests DESC, team, model, endpoint
