-- Are the objectives met, and at what use of the GPUs?
--
-- A histogram says in which bucket a request fell, not where in it. So shares and percentiles are
-- shown with what they can be at least and at most, and between the two as if requests lay evenly in
-- their bucket. Buckets of servers may differ: each counts with edges of its own. A request that
-- failed is outside the target, however fast it did; see docs/traffic.md.
CREATE OR REPLACE VIEW slo_attainment
(
    hour DateTime('UTC') COMMENT 'Start of the hour',
    team LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    model LowCardinality(String) COMMENT 'Model; empty: not said',
    endpoint LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    requests UInt64 COMMENT 'Requests that ended, well or not',
    errors Nullable(UInt64) COMMENT 'Requests that failed; NULL: not offered',
    target_latency_ms Nullable(UInt32) COMMENT 'Latency that requests must stay inside, milliseconds; NULL: no objective in force at the start of the hour',
    target_percentile Nullable(Float64) COMMENT 'Share of the requests that must stay inside, percent',
    inside_pct Nullable(Float64) COMMENT 'Requests inside target_latency_ms, percent, as if they lay evenly in their bucket; NULL: no objective, no requests, or latency not offered',
    inside_pct_low Nullable(Float64) COMMENT 'The same, at least, percent',
    inside_pct_high Nullable(Float64) COMMENT 'The same, at most, percent',
    latency_ms_mean Nullable(Float64) COMMENT 'Latency, mean, milliseconds; NULL: not offered',
    latency_ms_p50 Nullable(Float64) COMMENT 'Latency, median, as if requests lay evenly in their bucket, milliseconds; NULL: not offered, or above the last bucket',
    latency_ms_p50_low Nullable(Float64) COMMENT 'The same, at least, milliseconds',
    latency_ms_p50_high Nullable(Float64) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit',
    latency_ms_p95 Nullable(Float64) COMMENT 'Latency, 95th percentile, as if requests lay evenly in their bucket, milliseconds; NULL: not offered, or above the last bucket',
    latency_ms_p95_low Nullable(Float64) COMMENT 'The same, at least, milliseconds',
    latency_ms_p95_high Nullable(Float64) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit',
    latency_ms_p99 Nullable(Float64) COMMENT 'Latency, 99th percentile, as if requests lay evenly in their bucket, milliseconds; NULL: not offered, or above the last bucket',
    latency_ms_p99_low Nullable(Float64) COMMENT 'The same, at least, milliseconds',
    latency_ms_p99_high Nullable(Float64) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit',
    ttft_ms_p95 Nullable(Float64) COMMENT 'Time to first token, 95th percentile, as if requests lay evenly in their bucket, milliseconds; NULL: not offered, or above the last bucket',
    ttft_ms_p95_low Nullable(Float64) COMMENT 'The same, at least, milliseconds',
    ttft_ms_p95_high Nullable(Float64) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit',
    target_rps Nullable(Float64) COMMENT 'Requests per second that must be served, over all models of the objective; NULL: none said',
    served_rps Nullable(Float64) COMMENT 'Requests per second that did not fail, over all models of the objective, in the time observed',
    waiting Nullable(Float64) COMMENT 'Requests that waited at a time, mean, over all models of the objective; NULL: not offered',
    sm_pct Nullable(Float64) COMMENT 'SM use of its GPUs in the hour, mean of the time held, percent; NULL: nothing measured',
    kv_cache_pct Nullable(Float64) COMMENT 'KV cache of its servers in use, mean, percent; NULL: not offered',
    load_pct Nullable(Float64) COMMENT 'How full it is: the higher of sm_pct and kv_cache_pct, percent',
    gpus Float64 COMMENT 'GPUs allocated to it, mean of the hour, whole GPUs',
    target_attainment_pct Nullable(Float64) COMMENT 'Share of the hours in which the objective must be met, percent',
    outcome LowCardinality(String) COMMENT 'met. missed: inside_pct_high below target_percentile, or served_rps below target_rps while requests waited. unclear: the histogram cannot tell, or latency is not offered. no_traffic: nothing was asked. no_objective: none in force'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    promised AS
    (
        SELECT
            hour, team, model, endpoint,
            errors, observed_ms, observed_ms_by_minute, waiting_ms, waiting_known,
            latency_buckets, latency_counts, timed,
            latency_ms_mean,
            latency_ms_p50, latency_ms_p50_low, latency_ms_p50_high,
            latency_ms_p95, latency_ms_p95_low, latency_ms_p95_high,
            latency_ms_p99, latency_ms_p99_low, latency_ms_p99_high,
            ttft_ms_p95, ttft_ms_p95_low, ttft_ms_p95_high,
            kv_cache_pct, sm_pct, gpus,
            toInt64(ifNull(t.errors, 0)) AS lost,
            greatest(toInt64(t.requests), toInt64(t.timed)) AS total,
            arrayFirst(o -> o.model = t.model AND o.valid_from <= t.hour, s.objectives) AS own,
            if(
                own.valid_until > t.hour,
                own,
                arrayFirst(o -> o.model = '' AND o.valid_from <= t.hour, s.objectives)
            ) AS objective
        FROM endpoint_hourly_versions AS t FINAL
        LEFT JOIN slo_list AS s ON s.team = t.team AND s.endpoint = t.endpoint
        WHERE t.hour >= (SELECT hourly_from FROM kept_from)
            AND (t.hour, t.computed_at) IN (SELECT hour, argMax(computed_at, rolled_at) FROM rolled_hours GROUP BY hour)
    ),
    -- Models that share an objective serve together. Few do, and only of those have minutes to be laid
    -- over each other.
    together AS
    (
        SELECT
            hour, team, endpoint,
            true AS shared,
            sum(p.total - p.lost) AS served,
            sum(p.waiting_ms) AS waiting_ms,
            max(p.waiting_known) AS waiting_known,
            arraySum(maxForEach(p.observed_ms_by_minute)) AS observed_ms
        FROM promised AS p
        WHERE (team, endpoint) IN (SELECT team, endpoint FROM slos WHERE model = '')
            AND p.objective.valid_until > hour
            AND p.objective.model = ''
        GROUP BY hour, team, endpoint
    ),
    judged AS
    (
        SELECT
            p.*,
            p.objective.valid_until > p.hour AS has_objective,
            1000 * toUInt64(p.objective.latency_ms) AS target_us,
            arraySum(
                (upto, n) -> if(upto <= target_us, n, 0),
                p.latency_buckets.upto_us, p.latency_counts
            ) AS surely,
            arraySum(
                (above, n) -> if(above < target_us, n, 0),
                p.latency_buckets.above_us, p.latency_counts
            ) AS possibly,
            arraySum(
                (above, upto, n) -> multiIf(
                    upto <= target_us, toFloat64(n),
                    above >= target_us OR upto = 18446744073709551615, toFloat64(0),
                    n * (target_us - above) / (upto - above)
                ),
                p.latency_buckets.above_us, p.latency_buckets.upto_us, p.latency_counts
            ) AS evenly,
            -- A histogram may hold failed requests or not; and not every server may offer one.
            least(p.lost, greatest(toInt64(p.timed) + p.lost - p.total, 0)) AS lost_and_timed,
            greatest(p.total - (p.lost - lost_and_timed) - toInt64(p.timed), 0) AS untimed,
            if(p.timed = 0, NULL, 100 * greatest(toInt64(surely) - lost_and_timed, 0) / p.total) AS low,
            if(p.timed = 0, NULL, 100 * least(toInt64(possibly) + untimed, p.total - p.lost) / p.total) AS high,
            if(p.timed = 0, NULL, 100 * evenly * (1 - lost_and_timed / p.timed) / (p.total - untimed)) AS evenly_pct
        FROM promised AS p
    )
SELECT
    j.hour AS hour,
    if(j.team = '', 'unattributed', j.team) AS team,
    j.model AS model,
    j.endpoint AS endpoint,
    toUInt64(j.total) AS requests,
    j.errors AS errors,
    if(has_objective, j.objective.latency_ms, NULL) AS target_latency_ms,
    if(has_objective, j.objective.percentile, NULL) AS target_percentile,
    if(has_objective, greatest(least(j.evenly_pct, j.high), j.low), NULL) AS inside_pct,
    if(has_objective, j.low, NULL) AS inside_pct_low,
    if(has_objective, j.high, NULL) AS inside_pct_high,
    j.latency_ms_mean AS latency_ms_mean,
    j.latency_ms_p50 AS latency_ms_p50,
    j.latency_ms_p50_low AS latency_ms_p50_low,
    j.latency_ms_p50_high AS latency_ms_p50_high,
    j.latency_ms_p95 AS latency_ms_p95,
    j.latency_ms_p95_low AS latency_ms_p95_low,
    j.latency_ms_p95_high AS latency_ms_p95_high,
    j.latency_ms_p99 AS latency_ms_p99,
    j.latency_ms_p99_low AS latency_ms_p99_low,
    j.latency_ms_p99_high AS latency_ms_p99_high,
    j.ttft_ms_p95 AS ttft_ms_p95,
    j.ttft_ms_p95_low AS ttft_ms_p95_low,
    j.ttft_ms_p95_high AS ttft_ms_p95_high,
    if(has_objective, j.objective.throughput_rps, NULL) AS target_rps,
    1000 * if(c.shared, c.served, j.total - j.lost) / nullIf(if(c.shared, c.observed_ms, j.observed_ms) AS watched_ms, 0) AS served_rps,
    if(
        if(c.shared, c.waiting_known, j.waiting_known),
        if(c.shared, c.waiting_ms, j.waiting_ms) / nullIf(watched_ms, 0),
        NULL
    ) AS waiting,
    j.sm_pct AS sm_pct,
    j.kv_cache_pct AS kv_cache_pct,
    greatest(ifNull(sm_pct, kv_cache_pct), ifNull(kv_cache_pct, sm_pct)) AS load_pct,
    j.gpus AS gpus,
    if(has_objective, j.objective.attainment_pct, NULL) AS target_attainment_pct,
    multiIf(
        NOT has_objective, 'no_objective',
        j.total = 0, 'no_traffic',
        j.high < j.objective.percentile OR (served_rps < j.objective.throughput_rps AND waiting >= 1), 'missed',
        j.low >= j.objective.percentile, 'met',
        'unclear'
    ) AS outcome
FROM judged AS j
LEFT JOIN together AS c
    ON c.hour = j.hour AND c.team = j.team AND c.endpoint = j.endpoint
    AND c.shared = (j.has_objective AND j.objective.model = '')
COMMENT 'Requests inside the target by hour and endpoint, with the use of the GPUs beside it. See docs/slos.md.'
