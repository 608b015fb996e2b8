-- One hour of every endpoint, from what the other roll-ups of these versions have left.
--
-- Percentiles of a month are many sorts of many histograms. Nothing that is declared later changes
-- them, so they are taken once, here.
INSERT INTO endpoint_hourly_versions
WITH
    -- A histogram is (buckets, counts), a bucket (lower edge, upper edge). Its edges of either kind in
    -- order, each with the requests of all buckets up to there. Of a percentile: which request it is, in
    -- order of latency; the lower edge of the bucket that it is at least in, and the upper edge of that
    -- which it is at most in. Buckets of servers may differ, and overlap.
    (histogram, q) -> ceil(q * arraySum(histogram.2)) AS rank,
    histogram -> (
        arraySort(histogram.1.1),
        arrayCumSum(arraySort((n, above) -> above, histogram.2, histogram.1.1))
    ) AS lower_edges,
    histogram -> (
        arraySort(histogram.1.2),
        arrayCumSum(arraySort((n, upto) -> upto, histogram.2, histogram.1.2))
    ) AS upper_edges,
    (edges, k) -> if(k = 0, NULL, toFloat64(edges.1[arrayFirstIndex(n -> n >= k, edges.2)])) AS at_least,
    (edges, k) -> if(k = 0, NULL, toFloat64(
        nullIf(edges.1[arrayFirstIndex(n -> n >= k, edges.2)], 18446744073709551615)
    )) AS at_most,
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
    (lower, upper, c, k) -> if(at_most(upper, k) IS NULL, NULL, greatest(least(
        c.1[arrayFirstIndex(n -> n >= k - 0.000001, c.3) - 1]
            + (k - c.3[arrayFirstIndex(n -> n >= k - 0.000001, c.3) - 1])
            / c.2[arrayFirstIndex(n -> n >= k - 0.000001, c.3) - 1],
        at_most(upper, k)), at_least(lower, k))) AS between,
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
    -- Sorted once for all percentiles: a host may make up any number of buckets.
    sorted AS
    (
        SELECT
            *,
            lower_edges(t.latency) AS latency_lower,
            upper_edges(t.latency) AS latency_upper,
            curve(steps(t.latency)) AS latency_curve,
            lower_edges(t.ttft) AS ttft_lower,
            upper_edges(t.ttft) AS ttft_upper,
            curve(steps(t.ttft)) AS ttft_curve
        FROM traffic AS t
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
    between(t.latency_lower, t.latency_upper, t.latency_curve, rank(t.latency, 0.5)) / 1000 AS latency_ms_p50,
    at_least(t.latency_lower, rank(t.latency, 0.5)) / 1000 AS latency_ms_p50_low,
    at_most(t.latency_upper, rank(t.latency, 0.5)) / 1000 AS latency_ms_p50_high,
    between(t.latency_lower, t.latency_upper, t.latency_curve, rank(t.latency, 0.95)) / 1000 AS latency_ms_p95,
    at_least(t.latency_lower, rank(t.latency, 0.95)) / 1000 AS latency_ms_p95_low,
    at_most(t.latency_upper, rank(t.latency, 0.95)) / 1000 AS latency_ms_p95_high,
    between(t.latency_lower, t.latency_upper, t.latency_curve, rank(t.latency, 0.99)) / 1000 AS latency_ms_p99,
    at_least(t.latency_lower, rank(t.latency, 0.99)) / 1000 AS latency_ms_p99_low,
    at_most(t.latency_upper, rank(t.latency, 0.99)) / 1000 AS latency_ms_p99_high,
    between(t.ttft_lower, t.ttft_upper, t.ttft_curve, rank(t.ttft, 0.95)) / 1000 AS ttft_ms_p95,
    at_least(t.ttft_lower, rank(t.ttft, 0.95)) / 1000 AS ttft_ms_p95_low,
    at_most(t.ttft_upper, rank(t.ttft, 0.95)) / 1000 AS ttft_ms_p95_high,
    t.kv_cache_pct AS kv_cache_pct,
    g.sm_pct AS sm_pct,
    g.allocated AS gpus
FROM sorted AS t
LEFT JOIN gpus AS g ON g.hour = t.hour AND g.team = t.team AND g.model = t.model AND g.endpoint = t.endpoint
