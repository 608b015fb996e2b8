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
    -- A histogram is (lower edges, upper edges, counts); a bucket may come more than once. Of a
    -- percentile: which request it is, in order of latency; the lower edge of the bucket that it is at
    -- least in, and the upper edge of that which it is at most in.
    (histogram, q) -> ceil(q * arraySum(histogram.3)) AS rank,
    (histogram, k) -> if(k = 0, NULL, toFloat64(arraySort(histogram.1)[
        arrayFirstIndex(n -> n >= k, arrayCumSum(arraySort((n, above) -> above, histogram.3, histogram.1)))
    ])) AS at_least,
    (histogram, k) -> if(k = 0, NULL, toFloat64(nullIf(arraySort(histogram.2)[
        arrayFirstIndex(n -> n >= k, arrayCumSum(arraySort((n, upto) -> upto, histogram.3, histogram.2)))
    ], 18446744073709551615))) AS at_most,
    -- The same if requests lie evenly in their buckets. A curve is (latencies at which the density
    -- changes, density from there on, requests up to there).
    histogram -> arrayMap(
        (above, upto, n) -> if(upto = 18446744073709551615, toFloat64(0), n / (upto - above)),
        histogram.1, histogram.2, histogram.3
    ) AS densities,
    histogram -> (
        arraySort(arrayConcat(histogram.1, histogram.2)),
        arraySort(
            (change, x) -> x,
            arrayConcat(densities(histogram), arrayMap(density -> -density, densities(histogram))),
            arrayConcat(histogram.1, histogram.2)
        )
    ) AS steps,
    steps_taken -> (
        steps_taken.1,
        arrayCumSum(steps_taken.2),
        arrayCumSum(arrayMap(
            (density, width) -> density * width,
            arrayPopBack(arrayPushFront(arrayCumSum(steps_taken.2), 0)),
            arrayMap((x, before) -> toFloat64(x - before), steps_taken.1, arrayPopBack(arrayPushFront(steps_taken.1, 0)))
        ))
    ) AS curve,
    (histogram, c, k) -> if(at_most(histogram, k) IS NULL, NULL, greatest(least(
        c.1[arrayFirstIndex(n -> n >= k - 0.000001, c.3) - 1]
            + (k - c.3[arrayFirstIndex(n -> n >= k - 0.000001, c.3) - 1])
            / c.2[arrayFirstIndex(n -> n >= k - 0.000001, c.3) - 1],
        at_most(histogram, k)), at_least(histogram, k))) AS between,
    counted AS
    (
        SELECT
            hour, team, model, endpoint,
            requests, errors, observed_ms_by_minute, waiting_ms, waiting_known_ms, kv_cache_pct_ms, kv_cache_known_ms,
            latency_ms, latency_buckets, latency_counts, ttft_buckets, ttft_counts, offered,
            count() OVER (PARTITION BY hour, team, model, endpoint) AS parts
        FROM traffic_hourly
    ),
    traffic AS
    (
        SELECT
            hour, team, model, endpoint,
            sum(t.requests) AS ended,
            if(bitAnd(groupBitOr(t.offered), 2) = 0, NULL, sum(t.errors)) AS failed,
            max(arraySum(t.observed_ms_by_minute)) AS observed_ms,
            -- Most endpoints stand in one row of an hour and have objectives of their own: the time in which
            -- they were observed is a sum. Only of others have minutes to be laid over each other.
            groupArrayIf(
                t.observed_ms_by_minute,
                t.parts > 1 OR (team, endpoint) IN (SELECT team, endpoint FROM slos WHERE model = '')
            ) AS observed_by_minute,
            sum(t.waiting_ms) AS waiting_ms,
            sum(t.waiting_known_ms) > 0 AS waiting_known,
            if(sum(t.kv_cache_known_ms) = 0, NULL, sum(t.kv_cache_pct_ms) / sum(t.kv_cache_known_ms)) AS kv_cache_pct,
            sum(t.latency_ms) AS latency_ms,
            (
                groupArrayArray(t.latency_buckets.above_us), groupArrayArray(t.latency_buckets.upto_us),
                groupArrayArray(t.latency_counts)
            ) AS latency,
            (
                groupArrayArray(t.ttft_buckets.above_us), groupArrayArray(t.ttft_buckets.upto_us),
                groupArrayArray(t.ttft_counts)
            ) AS ttft
        FROM counted AS t
        GROUP BY hour, team, model, endpoint
    ),
    gpus AS
    (
        SELECT
            hour, team, model, endpoint,
            sum(u.held_ms + u.unheld_ms) / 3600000 AS allocated,
            if(sum(u.held_ms - u.unmeasured_ms) = 0, NULL,
                100 * sum(u.busy_ms) / sum(u.held_ms - u.unmeasured_ms)) AS sm_pct
        FROM usage_hourly AS u
        GROUP BY hour, team, model, endpoint
    ),
    judged AS
    (
        SELECT
            t.hour AS hour, t.team AS team, t.model AS model, t.endpoint AS endpoint,
            t.ended AS ended,
            t.failed AS failed,
            t.observed_ms AS observed_ms,
            t.observed_by_minute AS observed_by_minute,
            t.waiting_ms AS waiting_ms,
            t.waiting_known AS waiting_known,
            t.kv_cache_pct AS kv_cache_pct,
            t.latency_ms AS latency_ms,
            t.latency AS latency,
            curve(steps(t.latency)) AS latency_curve,
            t.ttft AS ttft,
            curve(steps(t.ttft)) AS ttft_curve,
            arrayFirst(o -> o.model = t.model AND o.valid_from <= t.hour, s.objectives) AS own,
            arrayFirst(o -> o.model = '' AND o.valid_from <= t.hour, s.objectives) AS general,
            if(own.valid_until > t.hour, own, general) AS objective,
            objective.valid_until > t.hour AS has_objective,
            1000 * toUInt64(objective.latency_ms) AS target_us,
            arraySum((upto, n) -> if(upto <= target_us, n, 0), t.latency.2, t.latency.3) AS surely,
            arraySum((above, n) -> if(above < target_us, n, 0), t.latency.1, t.latency.3) AS possibly,
            arraySum(
                (above, upto, n) -> multiIf(
                    upto <= target_us, toFloat64(n),
                    above >= target_us OR upto = 18446744073709551615, toFloat64(0),
                    n * (target_us - above) / (upto - above)
                ),
                t.latency.1, t.latency.2, t.latency.3
            ) AS evenly,
            toInt64(arraySum(t.latency.3)) AS timed,
            toInt64(ifNull(t.failed, 0)) AS lost,
            greatest(toInt64(t.ended), timed) AS total,
            -- A histogram may hold failed requests or not; and not every server may offer one.
            least(lost, greatest(timed + lost - total, 0)) AS lost_and_timed,
            greatest(total - (lost - lost_and_timed) - timed, 0) AS untimed,
            if(timed = 0, NULL, 100 * greatest(toInt64(surely) - lost_and_timed, 0) / total) AS low,
            if(timed = 0, NULL, 100 * least(toInt64(possibly) + untimed, total - lost) / total) AS high,
            if(timed = 0, NULL, 100 * evenly * (1 - lost_and_timed / timed) / (total - untimed)) AS evenly_pct
        FROM traffic AS t
        LEFT JOIN slo_list AS s ON s.team = t.team AND s.endpoint = t.endpoint
    )
SELECT
    j.hour AS hour,
    if(j.team = '', 'unattributed', j.team) AS team,
    j.model AS model,
    j.endpoint AS endpoint,
    toUInt64(j.total) AS requests,
    j.failed AS errors,
    if(has_objective, j.objective.latency_ms, NULL) AS target_latency_ms,
    if(has_objective, j.objective.percentile, NULL) AS target_percentile,
    if(has_objective, greatest(least(j.evenly_pct, j.high), j.low), NULL) AS inside_pct,
    if(has_objective, j.low, NULL) AS inside_pct_low,
    if(has_objective, j.high, NULL) AS inside_pct_high,
    if(j.timed = 0, NULL, j.latency_ms / j.timed) AS latency_ms_mean,
    between(j.latency, j.latency_curve, rank(j.latency, 0.5)) / 1000 AS latency_ms_p50,
    at_least(j.latency, rank(j.latency, 0.5)) / 1000 AS latency_ms_p50_low,
    at_most(j.latency, rank(j.latency, 0.5)) / 1000 AS latency_ms_p50_high,
    between(j.latency, j.latency_curve, rank(j.latency, 0.95)) / 1000 AS latency_ms_p95,
    at_least(j.latency, rank(j.latency, 0.95)) / 1000 AS latency_ms_p95_low,
    at_most(j.latency, rank(j.latency, 0.95)) / 1000 AS latency_ms_p95_high,
    between(j.latency, j.latency_curve, rank(j.latency, 0.99)) / 1000 AS latency_ms_p99,
    at_least(j.latency, rank(j.latency, 0.99)) / 1000 AS latency_ms_p99_low,
    at_most(j.latency, rank(j.latency, 0.99)) / 1000 AS latency_ms_p99_high,
    between(j.ttft, j.ttft_curve, rank(j.ttft, 0.95)) / 1000 AS ttft_ms_p95,
    at_least(j.ttft, rank(j.ttft, 0.95)) / 1000 AS ttft_ms_p95_low,
    at_most(j.ttft, rank(j.ttft, 0.95)) / 1000 AS ttft_ms_p95_high,
    if(has_objective, j.objective.throughput_rps, NULL) AS target_rps,
    1000 * sum(j.total - j.lost) OVER of_objective / nullIf(
        greatest(
            max(j.observed_ms) OVER of_objective,
            arraySum(arrayReduce('maxForEach', groupArrayArray(j.observed_by_minute) OVER of_objective))
        ) AS watched_ms,
        0
    ) AS served_rps,
    if(max(j.waiting_known) OVER of_objective, sum(j.waiting_ms) OVER of_objective / nullIf(watched_ms, 0), NULL) AS waiting,
    g.sm_pct AS sm_pct,
    j.kv_cache_pct AS kv_cache_pct,
    greatest(ifNull(sm_pct, kv_cache_pct), ifNull(kv_cache_pct, sm_pct)) AS load_pct,
    g.allocated AS gpus,
    if(has_objective, j.objective.attainment_pct, NULL) AS target_attainment_pct,
    multiIf(
        NOT has_objective, 'no_objective',
        j.total = 0, 'no_traffic',
        j.high < j.objective.percentile OR (served_rps < j.objective.throughput_rps AND waiting >= 1), 'missed',
        j.low >= j.objective.percentile, 'met',
        'unclear'
    ) AS outcome
FROM judged AS j
LEFT JOIN gpus AS g
    ON g.hour = j.hour AND g.team = j.team AND g.model = j.model AND g.endpoint = j.endpoint
WINDOW of_objective AS (PARTITION BY j.hour, j.team, j.endpoint, j.has_objective, if(j.has_objective, j.objective.model, j.model))
COMMENT 'Requests inside the target by hour and endpoint, with the use of the GPUs beside it. See docs/slos.md.'
