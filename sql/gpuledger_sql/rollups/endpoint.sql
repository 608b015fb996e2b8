-- One hour of every endpoint, from what the other roll-ups of these versions have left.
--
-- Percentiles of a month are many sorts of many histograms. Nothing that is declared later changes
-- them, so they are taken once, here.
INSERT INTO endpoint_hourly_versions
WITH
    -- A histogram is (buckets, counts), a bucket (lower edge, upper edge). Of a percentile: which
    -- request it is, in order of latency; the lower edge of the bucket that it is at least in, and the
    -- upper edge of that which it is at most in. Buckets of servers may differ, and overlap.
    (histogram, q) -> ceil(q * arraySum(histogram.2)) AS rank,
    (histogram, k) -> if(k = 0, NULL, toFloat64(arraySort(histogram.1.1)[
        arrayFirstIndex(n -> n >= k, arrayCumSum(arraySort((n, above) -> above, histogram.2, histogram.1.1)))
    ])) AS at_least,
    (histogram, k) -> if(k = 0, NULL, toFloat64(nullIf(arraySort(histogram.1.2)[
        arrayFirstIndex(n -> n >= k, arrayCumSum(arraySort((n, upto) -> upto, histogram.2, histogram.1.2)))
    ], 18446744073709551615))) AS at_most,
    -- The same if requests lie evenly in their buckets. A curve is (latencies at which the density
    -- changes, density from there on, requests up to there).
    histogram -> arrayMap(
        (above, upto, n) -> if(upto = 18446744073709551615, toFloat64(0), n / (upto - above)),
        histogram.1.1, histogram.1.2, histogram.2
    ) AS densities,
    histogram -> (
        arraySort(arrayConcat(histogram.1.1, histogram.1.2)),
        arraySort(
            (change, x) -> x,
            arrayConcat(densities(histogram), arrayMap(density -> -density, densities(histogram))),
            arrayConcat(histogram.1.1, histogram.1.2)
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
    traffic AS
    (
        SELECT
            hour, computed_at, team, model, endpoint,
            sum(t.requests) AS requests,
            if(bitAnd(groupBitOr(t.offered), 2) = 0, NULL, sum(t.errors)) AS errors,
            maxForEach(t.observed_ms_by_minute) AS observed_ms_by_minute,
            sum(t.waiting_ms) AS waiting_ms,
            sum(t.waiting_known_ms) > 0 AS waiting_known,
            if(sum(t.kv_cache_known_ms) = 0, NULL, sum(t.kv_cache_pct_ms) / sum(t.kv_cache_known_ms)) AS kv_cache_pct,
            sum(t.latency_ms) AS latency_ms,
            sumMap(t.latency_buckets, t.latency_counts) AS latency,
            sumMap(t.ttft_buckets, t.ttft_counts) AS ttft
        FROM traffic_hourly_versions AS t FINAL
        WHERE (hour, computed_at) IN {versions:Array(Tuple(DateTime('UTC'), DateTime64(6, 'UTC')))}
        GROUP BY hour, computed_at, team, model, endpoint
    ),
    gpus AS
    (
        SELECT
            hour, team, model, endpoint,
            sum(u.held_ms + u.unheld_ms) / 3600000 AS allocated,
            if(sum(u.held_ms - u.unmeasured_ms) = 0, NULL,
                100 * sum(u.busy_ms) / sum(u.held_ms - u.unmeasured_ms)) AS sm_pct
        FROM usage_hourly_versions AS u FINAL
        WHERE (hour, computed_at) IN {versions:Array(Tuple(DateTime('UTC'), DateTime64(6, 'UTC')))}
        GROUP BY hour, team, model, endpoint
    )
SELECT
    t.hour AS hour,
    t.computed_at AS computed_at,
    t.team AS team,
    t.model AS model,
    t.endpoint AS endpoint,
    t.requests AS requests,
    t.errors AS errors,
    t.observed_ms_by_minute AS observed_ms_by_minute,
    arraySum(t.observed_ms_by_minute) AS observed_ms,
    t.waiting_ms AS waiting_ms,
    t.waiting_known AS waiting_known,
    t.latency.1 AS latency_buckets,
    t.latency.2 AS latency_counts,
    arraySum(t.latency.2) AS timed,
    if(timed = 0, NULL, t.latency_ms / timed) AS latency_ms_mean,
    between(t.latency, curve(steps(t.latency)), rank(t.latency, 0.5)) / 1000 AS latency_ms_p50,
    at_least(t.latency, rank(t.latency, 0.5)) / 1000 AS latency_ms_p50_low,
    at_most(t.latency, rank(t.latency, 0.5)) / 1000 AS latency_ms_p50_high,
    between(t.latency, curve(steps(t.latency)), rank(t.latency, 0.95)) / 1000 AS latency_ms_p95,
    at_least(t.latency, rank(t.latency, 0.95)) / 1000 AS latency_ms_p95_low,
    at_most(t.latency, rank(t.latency, 0.95)) / 1000 AS latency_ms_p95_high,
    between(t.latency, curve(steps(t.latency)), rank(t.latency, 0.99)) / 1000 AS latency_ms_p99,
    at_least(t.latency, rank(t.latency, 0.99)) / 1000 AS latency_ms_p99_low,
    at_most(t.latency, rank(t.latency, 0.99)) / 1000 AS latency_ms_p99_high,
    between(t.ttft, curve(steps(t.ttft)), rank(t.ttft, 0.95)) / 1000 AS ttft_ms_p95,
    at_least(t.ttft, rank(t.ttft, 0.95)) / 1000 AS ttft_ms_p95_low,
    at_most(t.ttft, rank(t.ttft, 0.95)) / 1000 AS ttft_ms_p95_high,
    t.kv_cache_pct AS kv_cache_pct,
    g.sm_pct AS sm_pct,
    g.allocated AS gpus
FROM traffic AS t
LEFT JOIN gpus AS g ON g.hour = t.hour AND g.team = t.team AND g.model = t.model AND g.endpoint = t.endpoint
