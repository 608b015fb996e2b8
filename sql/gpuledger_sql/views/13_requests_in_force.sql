-- Which capacity requests count as requested, and from when until when?
CREATE OR REPLACE VIEW requests_in_force
(
    id String COMMENT 'Capacity request',
    request_group UInt64 COMMENT 'Same for requests that ask for the same: team, pool, model, endpoint, use case and GPU model',
    team LowCardinality(String) COMMENT 'Who asks',
    pool LowCardinality(String) COMMENT 'In which pool',
    model LowCardinality(String) COMMENT 'For which model; empty: any',
    endpoint LowCardinality(String) COMMENT 'For which endpoint; empty: any',
    use_case LowCardinality(String) COMMENT 'For which use case; empty: any',
    gpu_model LowCardinality(String) COMMENT 'Part of the GPU model name wanted; empty: any',
    gpus Float64 COMMENT 'GPUs requested',
    counts_from DateTime('UTC') COMMENT 'From when on this version counts',
    counts_until DateTime('UTC') COMMENT 'Until when this version counts; far in the future if there is no end',
    observed_pool LowCardinality(String) COMMENT 'Pool of observed_hourly whose telemetry tells: its own if it has GPUs; empty, all of the fleet, if it is only the name of work on the GPUs of others'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    versions AS
    (
        SELECT
            id, applied_at, request_group, team, pool, model, endpoint, use_case, gpu_model,
            gpus, requested_from, requested_until, status,
            row_number() OVER history AS number,
            leadInFrame(toNullable(applied_at)) OVER history AS replaced_at
        FROM capacity_requests
        WINDOW history AS (
            PARTITION BY id ORDER BY applied_at
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        )
    )
SELECT
    id,
    request_group,
    team, pool, model, endpoint, use_case, gpu_model,
    toFloat64(v.gpus) AS gpus,
    if(v.number = 1, v.requested_from, greatest(v.requested_from, toDateTime(v.applied_at, 'UTC'))) AS counts_from,
    least(
        ifNull(v.requested_until, toDateTime('2106-01-01 00:00:00', 'UTC')),
        ifNull(toDateTime(v.replaced_at, 'UTC'), toDateTime('2106-01-01 00:00:00', 'UTC'))
    ) AS counts_until,
    if(v.pool IN (SELECT host_pool FROM fleet_seen), v.pool, '') AS observed_pool
FROM versions AS v
WHERE v.status = 'approved' AND counts_from < counts_until
COMMENT 'Approved versions of capacity requests with the time in which each counts.'
