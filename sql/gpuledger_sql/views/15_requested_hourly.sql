-- How much did each capacity request ask for in each hour?
--
-- Of an hour counts what telemetry has seen of the pool, from its first window to its newest:
-- nobody is told of unclaimed GPUs in the part of the present hour that is still to come.
CREATE OR REPLACE VIEW requested_hourly
(
    hour DateTime('UTC') COMMENT 'Start of the hour; hours without telemetry of the pool are left out',
    id String COMMENT 'Capacity request',
    request_group UInt64 COMMENT 'Same for requests that ask for the same',
    requested_gpu_hours Float64 COMMENT 'GPUs requested x the observed part of the hour that the request covers, GPU-hours'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    o.hour AS hour,
    r.id AS id,
    r.request_group AS request_group,
    sum(r.gpus * dateDiff(
        'second', greatest(o.seen_from, r.counts_from), least(o.seen_until, r.counts_until)
    )) / 3600 AS requested_gpu_hours
FROM observed_hourly AS o
INNER JOIN requests_in_force AS r ON r.observed_pool = o.pool
WHERE r.counts_from < o.seen_until AND r.counts_until > o.seen_from
GROUP BY hour, id, request_group
COMMENT 'What every capacity request asked for, by hour.'
