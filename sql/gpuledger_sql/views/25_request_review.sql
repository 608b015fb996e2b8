-- What became of each capacity request?
--
-- The last seven days of telemetry, or the time since the request counts if that is less. Only
-- minutes with telemetry of the pool are looked at. What requests of one kind got is divided
-- among them by their GPUs. GPUs of which nobody knows whether they were busy count as used.
CREATE OR REPLACE VIEW request_review
(
    id String COMMENT 'Capacity request',
    team LowCardinality(String) COMMENT 'Who asks',
    pool LowCardinality(String) COMMENT 'In which pool',
    model LowCardinality(String) COMMENT 'For which model; empty: any',
    endpoint LowCardinality(String) COMMENT 'For which endpoint; empty: any',
    use_case LowCardinality(String) COMMENT 'For which use case; empty: any',
    gpu_model LowCardinality(String) COMMENT 'Part of the GPU model name wanted; empty: any',
    status LowCardinality(String) COMMENT 'proposed, approved, rejected or withdrawn',
    owner String COMMENT 'Person or group that answers for it',
    requested_gpus Float64 COMMENT 'GPUs requested',
    allocated_gpus_p95 Nullable(Float64) COMMENT 'GPUs allocated at a time, 95th percentile of minutes; NULL: nothing observed',
    used_gpus_p50 Nullable(Float64) COMMENT 'GPUs active at a time, median of minutes; NULL: nothing observed',
    used_gpus_p95 Nullable(Float64) COMMENT 'GPUs active at a time, 95th percentile of minutes; NULL: nothing observed',
    used_gpus_max Nullable(Float64) COMMENT 'GPUs active at a time, highest minute; NULL: nothing observed',
    gpu_memory_gib Nullable(Float64) COMMENT 'Memory that the team expects to need on each GPU, GiB; NULL: not said',
    measured_memory_gib_p99 Nullable(Float64) COMMENT 'Memory measured on one GPU, 99th percentile of the time present, GiB, within 0.01; NULL: the driver does not say',
    expected_sm_pct Nullable(Float64) COMMENT 'SM use that the team expects, percent; NULL: not said',
    measured_sm_pct Nullable(Float64) COMMENT 'SM use measured, mean of the time held, percent; NULL: nothing measured',
    observed_hours Float64 COMMENT 'Hours of telemetry that this rests on',
    reclaimable_gpus Float64 COMMENT 'requested_gpus - used_gpus_p95, rounded down to whole GPUs, at least 0',
    verdict LowCardinality(String) COMMENT 'not_in_force: not approved, not begun or over. no_data: no telemetry yet. unused: never active. oversized: at least one GPU reclaimable. undersized: allocated_gpus_p95 above requested_gpus. fits: none of these'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    (SELECT max(c.last_seen) FROM capacity_hourly AS c) AS newest,
    latest AS
    (
        SELECT
            id,
            argMax(tuple(
                team, pool, model, endpoint, use_case, gpu_model, toString(status), owner,
                toFloat64(gpus), toNullable(toFloat64(expected_sm_pct)),
                toNullable(toFloat64(gpu_memory_gib))
            ), applied_at) AS request
        FROM capacity_requests
        GROUP BY id
    ),
    in_force AS
    (
        SELECT
            id,
            request_group,
            any(r.observed_pool) AS observed_pool,
            greatest(min(r.counts_from), newest - INTERVAL 7 DAY) AS since,
            argMax(r.gpus, r.counts_from) AS gpus,
            gpus / sum(gpus) OVER (PARTITION BY request_group) AS part
        FROM requests_in_force AS r
        GROUP BY id, request_group
        HAVING max(r.counts_until) > now() AND since < newest
    ),
    got AS
    (
        SELECT
            hour, request_group,
            sumForEach(u.allocated_gpu_ms_by_minute) AS allocated_by_minute,
            sumForEach(arrayMap(
                (active, unmeasured) -> active + unmeasured,
                u.active_gpu_ms_by_minute, u.unmeasured_gpu_ms_by_minute
            )) AS used_by_minute,
            sum(u.held_ms - u.unmeasured_ms) AS measured,
            sum(u.busy_ms) AS busy,
            groupArrayArray(mapKeys(u.mem_mib_histogram)) AS memory,
            groupArrayArray(mapValues(u.mem_mib_histogram)) AS memory_ms
        FROM usage_by_request AS u
        WHERE hour >= toStartOfHour(newest - INTERVAL 7 DAY) AND u.request_group != 0
        GROUP BY hour, request_group
    ),
    hours AS
    (
        SELECT
            i.id AS id,
            i.part AS part,
            arrayMap(
                (minute, ms) -> ms > 0 AND o.hour + INTERVAL minute MINUTE >= toStartOfMinute(i.since),
                range(60), o.observed_gpu_ms_by_minute
            ) AS seen,
            arrayFilter((ms, look) -> look, arrayResize(g.allocated_by_minute, 60), seen) AS allocated,
            arrayFilter((ms, look) -> look, arrayResize(g.used_by_minute, 60), seen) AS used,
            g.measured AS measured,
            g.busy AS busy,
            g.memory AS memory,
            g.memory_ms AS memory_ms
        FROM in_force AS i
        INNER JOIN observed_hourly AS o ON o.pool = i.observed_pool
        LEFT JOIN got AS g ON g.hour = o.hour AND g.request_group = i.request_group
        WHERE o.hour >= toStartOfHour(i.since)
    ),
    evidence AS
    (
        SELECT
            id,
            sum(length(h.used)) AS minutes,
            quantileExactArray(0.95)(h.allocated) * any(h.part) / 60000 AS allocated_p95,
            arrayMap(
                ms -> ms * any(h.part) / 60000, quantilesExactArray(0.5, 0.95, 1)(h.used)
            ) AS used,
            sum(h.measured) AS measured,
            sum(h.busy) AS busy,
            max(notEmpty(h.memory)) AS memory_known,
            quantileExactWeightedArray(0.99)(h.memory, h.memory_ms) AS memory_p99
        FROM hours AS h
        GROUP BY id
    )
SELECT
    l.id AS id,
    l.request.1 AS team,
    l.request.2 AS pool,
    l.request.3 AS model,
    l.request.4 AS endpoint,
    l.request.5 AS use_case,
    l.request.6 AS gpu_model,
    l.request.7 AS status,
    l.request.8 AS owner,
    l.request.9 AS requested_gpus,
    if(e.minutes > 0, e.allocated_p95, NULL) AS allocated_gpus_p95,
    if(e.minutes > 0, e.used[1], NULL) AS used_gpus_p50,
    if(e.minutes > 0, e.used[2], NULL) AS used_gpus_p95,
    if(e.minutes > 0, e.used[3], NULL) AS used_gpus_max,
    l.request.11 AS gpu_memory_gib,
    if(e.memory_known, (e.memory_p99 + 8) / 1024, NULL) AS measured_memory_gib_p99,
    l.request.10 AS expected_sm_pct,
    if(e.measured > 0, 100 * e.busy / e.measured, NULL) AS measured_sm_pct,
    e.minutes / 60 AS observed_hours,
    greatest(floor(ifNull(requested_gpus - used_gpus_p95, 0)), 0) AS reclaimable_gpus,
    multiIf(
        i.id = '', 'not_in_force',
        e.minutes = 0, 'no_data',
        used_gpus_max = 0, 'unused',
        reclaimable_gpus > 0, 'oversized',
        allocated_gpus_p95 > requested_gpus, 'undersized',
        'fits'
    ) AS verdict
FROM latest AS l
LEFT JOIN (
    SELECT id FROM requests_in_force AS r WHERE r.counts_from <= now() AND r.counts_until > now()
) AS i ON i.id = l.id
LEFT JOIN evidence AS e ON e.id = l.id
COMMENT 'Every capacity request beside what it was used for.'
