-- Which part of an hour has telemetry seen of a pool, and of all of the fleet?
CREATE OR REPLACE VIEW observed_hourly
(
    hour DateTime('UTC') COMMENT 'Start of the hour; hours without telemetry are left out',
    pool LowCardinality(String) COMMENT 'Pool that the GPUs belong to; empty: all pools together',
    seen_from DateTime('UTC') COMMENT 'Start of the first window observed in the hour',
    seen_until DateTime('UTC') COMMENT 'End of the last window observed in the hour',
    observed_gpu_ms_by_minute Array(UInt64) COMMENT '60 values, one a minute: time observed, milliseconds of a whole GPU'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    c.hour AS hour,
    arrayJoin(arrayDistinct([c.host_pool, ''])) AS pool,
    min(c.first_seen) AS seen_from,
    max(c.last_seen) AS seen_until,
    sumForEach(c.observed_gpu_ms_by_minute) AS observed_gpu_ms_by_minute
FROM capacity_hourly AS c
GROUP BY hour, pool
COMMENT 'What telemetry has seen of every pool, by hour.'
