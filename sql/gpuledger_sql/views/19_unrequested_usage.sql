-- Which work of a team does no capacity request in force cover, and did one that is over?
CREATE OR REPLACE VIEW unrequested_usage
(
    hour DateTime('UTC') COMMENT 'Start of the hour',
    cluster LowCardinality(String) COMMENT 'Cluster of the hosts',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    pool LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    team LowCardinality(String) COMMENT 'Team',
    model LowCardinality(String) COMMENT 'Model; empty: not said',
    endpoint LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    use_case LowCardinality(String) COMMENT 'Use case; empty: not said',
    allocated_gpu_hours Float64 COMMENT 'Held, or granted without a process, GPU-hours',
    ended_request String COMMENT 'Request that would cover it and is over or withdrawn, the latest; empty: there never was one',
    ended_at Nullable(DateTime('UTC')) COMMENT 'When that request ceased to count'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    requests AS
    (
        SELECT
            id, team, pool, model, endpoint, use_case,
            lowerUTF8(r.gpu_model) AS gpu_model,
            max(r.counts_until) AS ended_at
        FROM requests_in_force AS r
        GROUP BY id, team, pool, model, endpoint, use_case, gpu_model
    ),
    owners AS
    (
        SELECT DISTINCT owner, team, pool, model, endpoint, use_case, gpu_model
        FROM owners_seen
        WHERE team != ''
    ),
    fitting AS
    (
        SELECT
            o.owner AS owner,
            arrayReverseSort(groupArray((r.ended_at, r.id))) AS requests
        FROM owners AS o
        INNER JOIN requests AS r ON r.team = o.team AND r.pool = o.pool
        WHERE r.model IN ('', o.model)
            AND r.endpoint IN ('', o.endpoint)
            AND r.use_case IN ('', o.use_case)
            AND (r.gpu_model = '' OR positionUTF8(lowerUTF8(o.gpu_model), r.gpu_model) > 0)
        GROUP BY owner
    )
SELECT
    u.hour AS hour,
    u.cluster AS cluster,
    u.host_pool AS host_pool,
    u.gpu_model AS gpu_model,
    u.pool AS pool,
    u.team AS team,
    u.model AS model,
    u.endpoint AS endpoint,
    u.use_case AS use_case,
    (u.held_ms + u.unheld_ms) / 3600000 AS allocated_gpu_hours,
    arrayFirst(
        request -> request.1 < u.hour + INTERVAL 1 HOUR, f.requests
    ).2 AS ended_request,
    if(ended_request = '', NULL, arrayFirst(
        request -> request.1 < u.hour + INTERVAL 1 HOUR, f.requests
    ).1) AS ended_at
FROM usage_by_request AS u
LEFT JOIN fitting AS f ON f.owner = u.owner
WHERE u.request_group = 0 AND u.team != ''
COMMENT 'Hourly usage of teams that no request in force covers.'
