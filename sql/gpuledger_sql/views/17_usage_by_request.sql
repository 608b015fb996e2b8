-- Which capacity request does an hour of usage belong to?
--
-- The most specific that fits: most fields given; of equally many, endpoint before model before
-- use case before GPU model; then the longer GPU model.
CREATE OR REPLACE VIEW usage_by_request
(
    hour DateTime('UTC') COMMENT 'Start of the hour',
    request_group UInt64 COMMENT 'Requests that the usage belongs to, 0 if nobody asked for it',
    cluster LowCardinality(String) COMMENT 'Cluster of the hosts',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    pool LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    team LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    model LowCardinality(String) COMMENT 'Owner: model',
    endpoint LowCardinality(String) COMMENT 'Owner: endpoint',
    use_case LowCardinality(String) COMMENT 'Owner: use case',
    owner UInt64 COMMENT 'Same for rows of the same cluster, host_pool, GPU model, pool, team, model, endpoint and use case',
    held_ms UInt64 COMMENT 'Time held, milliseconds of a whole GPU',
    unheld_ms UInt64 COMMENT 'Time granted without a process, milliseconds of a whole GPU',
    active_ms UInt64 COMMENT 'Time held in windows with SM time, milliseconds of a whole GPU',
    busy_ms UInt64 COMMENT 'SM-busy time, milliseconds of a whole GPU',
    unmeasured_ms UInt64 COMMENT 'Time held of which nobody knows whether the SMs were busy, milliseconds of a whole GPU',
    active_gpu_ms_by_minute Array(UInt64) COMMENT '60 values, one a minute: active_ms of it',
    unmeasured_gpu_ms_by_minute Array(UInt64) COMMENT '60 values, one a minute: unmeasured_ms of it',
    allocated_gpu_ms_by_minute Array(UInt64) COMMENT '60 values, one a minute: held_ms + unheld_ms of it',
    mem_mib_ms UInt64 COMMENT 'GPU memory x time, MiB x milliseconds',
    mem_mib_histogram Map(UInt32, UInt64) COMMENT 'Memory on one GPU, mean of a window, in steps of 16 MiB (the lower edge) -> milliseconds of presence'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    fitting AS
    (
        SELECT
            o.owner AS owner,
            any(r.observed_pool) AS observed_pool,
            arrayMap(ranked -> ranked.2, arrayReverseSort(groupArray((
                (
                    (r.endpoint != '') + (r.model != '') + (r.use_case != '') + (r.gpu_model != ''),
                    r.endpoint != '', r.model != '', r.use_case != '', length(r.gpu_model)
                ),
                (r.request_group, r.counts_from, r.counts_until)
            )))) AS candidates
        FROM (SELECT DISTINCT owner, team, pool, model, endpoint, use_case, gpu_model FROM owners_seen) AS o
        INNER JOIN requests_in_force AS r ON r.team = o.team AND r.pool = o.pool
        WHERE r.model IN ('', o.model)
            AND r.endpoint IN ('', o.endpoint)
            AND r.use_case IN ('', o.use_case)
            AND (r.gpu_model = '' OR positionCaseInsensitiveUTF8(o.gpu_model, r.gpu_model) > 0)
        GROUP BY owner
    )
SELECT
    u.hour AS hour,
    arrayFirst(
        candidate -> candidate.2 < o.seen_until AND candidate.3 > o.seen_from, f.candidates
    ).1 AS request_group,
    u.cluster AS cluster,
    u.host_pool AS host_pool,
    u.gpu_model AS gpu_model,
    u.pool AS pool,
    u.team AS team,
    u.model AS model,
    u.endpoint AS endpoint,
    u.use_case AS use_case,
    u.owner AS owner,
    u.held_ms AS held_ms,
    u.unheld_ms AS unheld_ms,
    u.active_ms AS active_ms,
    u.busy_ms AS busy_ms,
    u.unmeasured_ms AS unmeasured_ms,
    u.active_gpu_ms_by_minute AS active_gpu_ms_by_minute,
    u.unmeasured_gpu_ms_by_minute AS unmeasured_gpu_ms_by_minute,
    u.allocated_gpu_ms_by_minute AS allocated_gpu_ms_by_minute,
    u.mem_mib_ms AS mem_mib_ms,
    u.mem_mib_histogram AS mem_mib_histogram
FROM usage_hourly AS u
LEFT ANY JOIN fitting AS f ON f.owner = u.owner
LEFT ANY JOIN observed_hourly AS o ON o.hour = u.hour AND o.pool = f.observed_pool
COMMENT 'Hourly usage with the kind of capacity request it belongs to.'
