-- Would more GPUs help?
--
-- Attainment of the day against its use: who meets the objective needs no more; who misses it on GPUs
-- that are not full (load_pct below 85 in the hours missed) has to tune; only who misses it on full ones
-- has to grow. What cannot be told is said to be unclear: no evidence, no accusation.
CREATE OR REPLACE VIEW scaling_verdict
(
    day Date COMMENT 'Day, UTC',
    team LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    model LowCardinality(String) COMMENT 'Model; empty: not said',
    endpoint LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    requests UInt64 COMMENT 'Requests that ended, well or not',
    hours_judged UInt32 COMMENT 'Hours with an objective in force and requests',
    hours_met UInt32 COMMENT 'Hours in which the objective was met',
    hours_missed UInt32 COMMENT 'Hours in which it was missed',
    hours_unclear UInt32 COMMENT 'Hours of which histograms cannot tell',
    attainment_pct_low Nullable(Float64) COMMENT 'Hours that met the objective, at least, percent of those judged; NULL: none judged',
    attainment_pct_high Nullable(Float64) COMMENT 'The same, at most, percent',
    target_attainment_pct Nullable(Float64) COMMENT 'The same as promised in the last hour judged, percent',
    load_pct_mean Nullable(Float64) COMMENT 'How full its GPUs and servers were, the higher of SM and KV cache use, mean of hours with requests, percent; NULL: nothing measured',
    load_pct_peak Nullable(Float64) COMMENT 'The same, highest hour, percent',
    missed_load_pct Nullable(Float64) COMMENT 'The same, mean of the hours missed, percent; NULL: none missed, or nothing measured',
    gpus Float64 COMMENT 'GPUs allocated, mean of hours with traffic telemetry, whole GPUs',
    verdict LowCardinality(String) COMMENT 'enough: the objective is met. tune: missed with headroom; batch, quantize or route. grow: missed while full. unclear: histograms cannot tell, or load was not measured. no_objective: none in force in an hour with requests'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    days AS
    (
        SELECT
            toDate(a.hour) AS day,
            team, model, endpoint,
            sum(a.requests) AS requests,
            toUInt32(countIf(a.outcome = 'met')) AS hours_met,
            toUInt32(countIf(a.outcome = 'missed')) AS hours_missed,
            toUInt32(countIf(a.outcome = 'unclear')) AS hours_unclear,
            toUInt32(hours_met + hours_missed + hours_unclear) AS hours_judged,
            argMaxIf(a.target_attainment_pct, a.hour, a.outcome IN ('met', 'missed', 'unclear')) AS target_attainment_pct,
            avgIf(a.load_pct, a.requests > 0) AS load_pct_mean,
            maxIf(a.load_pct, a.requests > 0) AS load_pct_peak,
            avgIf(a.load_pct, a.outcome = 'missed') AS missed_load_pct,
            avg(a.gpus) AS gpus
        FROM slo_attainment AS a
        WHERE a.hour >= toDateTime((SELECT slos_from FROM read_by_hour), 'UTC')
        GROUP BY day, team, model, endpoint
    )
SELECT
    day,
    team,
    model,
    endpoint,
    requests,
    hours_judged,
    hours_met,
    hours_missed,
    hours_unclear,
    if(d.hours_judged = 0, NULL, 100 * d.hours_met / d.hours_judged) AS attainment_pct_low,
    if(d.hours_judged = 0, NULL, 100 * (d.hours_met + d.hours_unclear) / d.hours_judged) AS attainment_pct_high,
    target_attainment_pct,
    load_pct_mean,
    load_pct_peak,
    missed_load_pct,
    gpus,
    multiIf(
        d.hours_judged = 0, 'no_objective',
        attainment_pct_low >= d.target_attainment_pct, 'enough',
        attainment_pct_high >= d.target_attainment_pct OR d.missed_load_pct IS NULL, 'unclear',
        d.missed_load_pct < 85, 'tune',
        'grow'
    ) AS verdict
FROM days AS d
UNION ALL
SELECT
    day,
    team,
    model,
    endpoint,
    requests,
    hours_judged,
    hours_met,
    hours_missed,
    hours_unclear,
    attainment_pct_low,
    attainment_pct_high,
    target_attainment_pct,
    load_pct_mean,
    load_pct_peak,
    missed_load_pct,
    gpus,
    verdict
FROM scaling_verdict_versions FINAL
WHERE day < (SELECT slos_from FROM read_by_hour)
    AND (day, computed_at) IN (SELECT day, max(computed_at) FROM rolled_days GROUP BY day)
COMMENT 'Attainment crossed with utilization, by day and endpoint: whether more GPUs would help. See docs/slos.md.'
