-- How much room is left in each pool, and when is it full?
--
-- The forecast is a straight line through the 95th percentile of hourly allocated GPUs of each
-- whole day of the last 28, with a level of its own for every day of the week: least squares
-- over distances from the weekday's mean, so that neither nights nor weekends pass for a trend.
-- Days with less than 20 hours of telemetry are left out; with less than 14 days there is no
-- forecast. It starts from the busiest weekday's level on the line today and ends at the median
-- capacity of the last 24 hours. The band is two standard errors of the slope, about 95 %; the error
-- is widened as far as a day errs like the day before it. What it cannot know is plans: see
-- gpuledger plan. More than ten years is not in sight.
CREATE OR REPLACE VIEW pool_headroom
(
    hour DateTime('UTC') COMMENT 'Start of the hour',
    pool LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    capacity_gpus Float64 COMMENT 'GPUs observed, mean of the seen part of the hour, whole GPUs',
    requested_gpus Float64 COMMENT 'Asked for by approved requests, mean of the seen part of the hour, GPUs; requests that several models of the pool fit are divided by their capacity',
    allocated_gpus Float64 COMMENT 'Held or granted, mean of the seen part of the hour, whole GPUs',
    used_gpus Float64 COMMENT 'Active, or held and unmeasured, mean of the seen part of the hour, whole GPUs',
    headroom_gpus Float64 COMMENT 'Capacity less what is requested or allocated, whichever is more; below 0: promised or taken beyond capacity, GPUs',
    level_gpus Nullable(Float64) COMMENT 'Allocated GPUs (daily p95) of the busiest weekday as the trend has them today; same in all hours; NULL: less than 14 days',
    trend_gpus_per_day Nullable(Float64) COMMENT 'Growth of allocated GPUs (daily p95) over the last 28 days, GPUs a day; same in all hours; NULL: less than 14 days',
    trend_error_gpus_per_day Nullable(Float64) COMMENT 'Standard error of trend_gpus_per_day, GPUs a day',
    trend_days UInt64 COMMENT 'Days that the trend rests on, 28 at most',
    days_to_full Nullable(Float64) COMMENT 'Days from today until the trend reaches capacity; 0: there already; NULL: not in sight, or less than 14 days',
    days_to_full_earliest Nullable(Float64) COMMENT 'The same with a trend two standard errors steeper, days',
    days_to_full_latest Nullable(Float64) COMMENT 'The same with a trend two standard errors flatter, days; NULL: perhaps never'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    (SELECT max(c.last_seen) FROM capacity_hourly AS c) AS newest,
    capacity AS
    (
        SELECT
            hour,
            host_pool AS pool,
            gpu_model,
            sum(c.observed_ms) AS observed,
            sum(c.observed_ms) - sum(c.unallocated_ms) AS allocated,
            1000 * dateDiff('second',
                min(min(c.first_seen)) OVER (PARTITION BY hour, host_pool),
                max(max(c.last_seen)) OVER (PARTITION BY hour, host_pool)
            ) AS seen_ms
        FROM capacity_hourly AS c
        WHERE c.observed_ms > 0
        GROUP BY hour, host_pool, gpu_model
    ),
    used AS
    (
        SELECT
            hour,
            host_pool AS pool,
            gpu_model,
            sum(u.active_ms) + sum(u.unmeasured_ms) AS used
        FROM usage_hourly AS u
        GROUP BY hour, host_pool, gpu_model
    ),
    wished AS
    (
        SELECT
            r.hour AS hour,
            g.pool AS pool,
            lowerUTF8(g.gpu_model) AS gpu_model,
            sum(r.requested_gpu_hours) AS gpu_hours
        FROM requested_hourly AS r
        INNER JOIN request_groups AS g ON g.request_group = r.request_group
        GROUP BY hour, pool, gpu_model
    ),
    asked AS
    (
        SELECT
            c.hour AS hour,
            c.pool AS pool,
            c.gpu_model AS gpu_model,
            3600000 * w.gpu_hours * c.observed
                / sum(c.observed) OVER (PARTITION BY c.hour, c.pool, w.gpu_model) AS requested
        FROM capacity AS c
        INNER JOIN wished AS w ON w.hour = c.hour AND w.pool = c.pool
        WHERE positionUTF8(lowerUTF8(c.gpu_model), w.gpu_model) > 0 OR w.gpu_model = ''
    ),
    requested AS
    (
        SELECT hour, pool, gpu_model, sum(a.requested) AS requested
        FROM asked AS a
        GROUP BY hour, pool, gpu_model
    ),
    days AS
    (
        SELECT
            pool,
            gpu_model,
            -toFloat64(dateDiff('day', toDate(c.hour), toDate(assumeNotNull(newest)))) AS day,
            toDayOfWeek(c.hour) AS weekday,
            quantileExact(0.95)(c.allocated / c.seen_ms) AS peak
        FROM capacity AS c
        WHERE toDate(c.hour) >= toDate(newest) - 28 AND toDate(c.hour) < toDate(newest)
        GROUP BY pool, gpu_model, day, weekday
        HAVING count() >= 20
    ),
    distances AS
    (
        SELECT
            pool,
            gpu_model,
            day,
            weekday,
            avg(d.day) OVER same_weekday AS mean_day,
            avg(d.peak) OVER same_weekday AS mean_peak,
            d.day - mean_day AS days_off,
            d.peak - mean_peak AS gpus_off
        FROM days AS d
        WINDOW same_weekday AS (PARTITION BY pool, gpu_model, weekday)
    ),
    lines AS
    (
        SELECT
            pool,
            gpu_model,
            count() AS days_known,
            sum(d.days_off * d.days_off) AS spread,
            sum(d.days_off * d.gpus_off) / spread AS slope,
            days_known - uniqExact(d.weekday) - 1 AS freedom,
            arrayMap(
                point -> point.3 - slope * point.2,
                arraySort(groupArray((d.day, d.days_off, d.gpus_off)))
            ) AS errors,
            arraySum(e -> e * e, errors) AS squares,
            arraySum((e, next) -> e * next, arrayPopBack(errors), arrayPopFront(errors)) AS lagged,
            -- Of one day's error so much stays the next day: sums of rounding are no errors.
            if(squares > 1e-9, least(greatest(lagged / squares, 0), 0.9), 0) AS stays,
            sqrt(squares / freedom / spread * (1 + stays) / (1 - stays)) AS slope_error,
            arrayMax(
                mean -> mean.2 - slope * mean.1, groupUniqArray((d.mean_day, d.mean_peak))
            ) AS level
        FROM distances AS d
        GROUP BY pool, gpu_model
        HAVING days_known >= 14
    ),
    capacity_now AS
    (
        SELECT pool, gpu_model, quantileExact(0.5)(c.observed / c.seen_ms) AS gpus
        FROM capacity AS c
        WHERE c.hour > newest - INTERVAL 1 DAY
        GROUP BY pool, gpu_model
    ),
    forecasts AS
    (
        SELECT
            n.pool AS pool,
            n.gpu_model AS gpu_model,
            t.days_known AS days_known,
            toNullable(t.level) AS level,
            toNullable(t.slope) AS slope,
            toNullable(t.slope_error) AS slope_error,
            arrayMap(
                steepness -> multiIf(
                    t.level >= n.gpus, 0,
                    steepness > 0 AND (n.gpus - t.level) / steepness <= 3650,
                    (n.gpus - t.level) / steepness,
                    NULL
                ),
                [t.slope, t.slope + 2 * t.slope_error, t.slope - 2 * t.slope_error]
            ) AS full_after
        FROM lines AS t
        INNER JOIN capacity_now AS n ON n.pool = t.pool AND n.gpu_model = t.gpu_model
    )
SELECT
    c.hour AS hour,
    c.pool AS pool,
    c.gpu_model AS gpu_model,
    c.observed / c.seen_ms AS capacity_gpus,
    r.requested / c.seen_ms AS requested_gpus,
    c.allocated / c.seen_ms AS allocated_gpus,
    u.used / c.seen_ms AS used_gpus,
    capacity_gpus - greatest(requested_gpus, allocated_gpus) AS headroom_gpus,
    f.level AS level_gpus,
    f.slope AS trend_gpus_per_day,
    f.slope_error AS trend_error_gpus_per_day,
    f.days_known AS trend_days,
    f.full_after[1] AS days_to_full,
    f.full_after[2] AS days_to_full_earliest,
    f.full_after[3] AS days_to_full_latest
FROM capacity AS c
LEFT JOIN used AS u ON u.hour = c.hour AND u.pool = c.pool AND u.gpu_model = c.gpu_model
LEFT JOIN requested AS r ON r.hour = c.hour AND r.pool = c.pool AND r.gpu_model = c.gpu_model
LEFT JOIN forecasts AS f ON f.pool = c.pool AND f.gpu_model = c.gpu_model
COMMENT 'Room in each pool by hour, and when the pool is full as the last four weeks have it.'
