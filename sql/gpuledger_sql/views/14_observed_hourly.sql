-- Which part of an hour has telemetry seen of a pool?
--
-- Of a pool that has GPUs, its own; of one that is only the name of work on the GPUs of others,
-- all of the fleet.
CREATE OR REPLACE VIEW observed_hourly
(
    hour DateTime('UTC') COMMENT 'Start of the hour; hours without telemetry are left out',
    pool LowCardinality(String) COMMENT 'Pool of GPUs or of a capacity request',
    seen_from DateTime('UTC') COMMENT 'Start of the first window observed in the hour',
    seen_until DateTime('UTC') COMMENT 'End of the last window observed in the hour',
    observed_gpu_ms_by_minute Array(UInt64) COMMENT '60 values, one a minute: time observed, milliseconds of a whole GPU'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    gpu_pools AS (SELECT DISTINCT host_pool FROM fleet_seen),
    sources AS
    (
        SELECT host_pool, host_pool AS pool FROM gpu_pools
        UNION ALL
        SELECT g.host_pool, r.pool
        FROM gpu_pools AS g
        CROSS JOIN (SELECT DISTINCT pool FROM capacity_requests) AS r
        WHERE r.pool NOT IN (SELECT host_pool FROM gpu_pools)
    )
SELECT
    c.hour AS hour,
    s.pool AS pool,
    min(c.first_seen) AS seen_from,
    max(c.last_seen) AS seen_until,
    sumForEach(c.observed_gpu_ms_by_minute) AS observed_gpu_ms_by_minute
FROM capacity_hourly AS c
INNER JOIN sources AS s ON s.host_pool = c.host_pool
GROUP BY hour, pool
COMMENT 'What telemetry has seen of every pool, by hour.'
