-- One hour of what the GPUs offered, from raw: {hour} is recomputed whole as version {computed_at}.
INSERT INTO capacity_hourly_versions
WITH
    minutes AS
    (
        SELECT
            cluster, host_pool, gpu_model, host, gpu,
            toMinute(ts) AS minute,
            min(ts) AS first_ts,
            max(ts + window_s) AS last_ts,
            sum(g.observed_ms) AS observed,
            sum(g.unallocated_ms) AS unallocated,
            sumIf(g.sm_busy_ms, sm_source NOT IN ('unspecified', 'unknown')) AS busy,
            -- A MIG instance is observed for its share of the time of the whole GPU.
            max(g.observed_ms / (g.window_s * 1000)) AS share,
            maxIf(g.mem_total_mib, bitAnd(g.offered, 1) = 1) AS mem_total_mib
        FROM gpu_usage_raw AS g FINAL
        WHERE ts >= {hour:DateTime('UTC')} AND ts < {hour:DateTime('UTC')} + INTERVAL 1 HOUR
        GROUP BY cluster, host_pool, gpu_model, host, gpu, minute
    ),
    by_gpu AS
    (
        SELECT
            cluster, host_pool, gpu_model, host, gpu,
            min(m.first_ts) AS first_ts,
            max(m.last_ts) AS last_ts,
            sum(m.observed) AS observed,
            sum(m.unallocated) AS unallocated,
            sum(m.busy) AS busy,
            groupArrayInsertAt(0, 60)(m.observed, m.minute) AS by_minute,
            if(observed = 0, 0, max(m.mem_total_mib) * observed / max(m.share)) AS mem_integral
        FROM minutes AS m
        GROUP BY cluster, host_pool, gpu_model, host, gpu
    )
SELECT
    {hour:DateTime('UTC')} AS hour,
    {computed_at:DateTime64(6, 'UTC')} AS computed_at,
    cluster, host_pool, gpu_model,
    min(g.first_ts) AS first_seen,
    max(g.last_ts) AS last_seen,
    uniqExact(host) AS hosts,
    uniqExact(host, gpu) AS gpus,
    sum(g.observed) AS observed_ms,
    sum(g.unallocated) AS unallocated_ms,
    sum(g.busy) AS busy_ms,
    sumForEach(g.by_minute) AS observed_gpu_ms_by_minute,
    toUInt64(sum(g.mem_integral)) AS mem_total_mib_ms
FROM by_gpu AS g
GROUP BY cluster, host_pool, gpu_model
