-- One hour of every workload on every GPU, from raw: {hour} as version {computed_at}.
INSERT INTO workload_hourly_versions
WITH
    windows AS
    (
        SELECT
            cluster, host, host_pool, gpu, gpu_model, pool, team, model, endpoint, use_case,
            workload_kind, workload,
            if(team = '', process_name, '') AS process_name,
            if(team = '', user, '') AS user,
            ts,
            ts + window_s AS ts_end,
            sm_source NOT IN ('unspecified', 'unknown') AS sm_known,
            toUInt64(held_ms) AS held,
            toUInt64(0) AS unheld,
            if(sm_known AND sm_busy_ms > 0, held, 0) AS active,
            if(sm_known, sm_busy_ms, 0) AS busy,
            if(sm_known, 0, held) AS unmeasured,
            if(mem_source = 'driver', mem_mib_max, 0) AS mem_max
        FROM process_usage_raw FINAL
        WHERE ts >= {hour:DateTime('UTC')} AND ts < {hour:DateTime('UTC')} + INTERVAL 1 HOUR
        UNION ALL
        SELECT
            cluster, host, host_pool, gpu, gpu_model, pool, team, model, endpoint, use_case,
            workload_kind, workload, '', '', ts, ts + window_s,
            1, 0, toUInt64(unheld_ms), 0, 0, 0, 0
        FROM gpu_allocation_raw FINAL
        WHERE ts >= {hour:DateTime('UTC')} AND ts < {hour:DateTime('UTC')} + INTERVAL 1 HOUR
    )
SELECT
    {hour:DateTime('UTC')} AS hour,
    {computed_at:DateTime64(6, 'UTC')} AS computed_at,
    cluster, host, host_pool, gpu, gpu_model, pool, team, model, endpoint, use_case,
    workload_kind, workload, process_name, user,
    min(w.ts) AS first_seen,
    max(w.ts_end) AS last_seen,
    maxIf(w.ts_end, w.active > 0 OR w.unmeasured > 0) AS last_worked,
    sum(w.held) AS held_ms,
    sum(w.unheld) AS unheld_ms,
    sum(w.active) AS active_ms,
    sum(w.busy) AS busy_ms,
    sum(w.unmeasured) AS unmeasured_ms,
    arraySum(
        (at, idle) -> if(at >= last_worked, idle, 0),
        groupArray(w.ts),
        groupArray(w.held + w.unheld - w.active - w.unmeasured)
    ) AS idle_after_work_ms,
    max(w.mem_max) AS mem_mib_max
FROM windows AS w
GROUP BY
    cluster, host, host_pool, gpu, gpu_model, pool, team, model, endpoint, use_case,
    workload_kind, workload, process_name, user
