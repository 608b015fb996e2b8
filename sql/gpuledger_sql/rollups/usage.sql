-- One hour of every owner, from raw: {hour} is recomputed whole as version {computed_at}.
INSERT INTO usage_hourly_versions
WITH
    windows AS
    (
        -- What one owner did on one GPU in one window. Its processes may follow one another or
        -- run side by side; together they were there at most for the length of the window.
        SELECT
            cluster, host_pool, gpu_model, pool, team, model, endpoint, use_case,
            toMinute(ts) AS minute,
            sum(p.held_ms) AS held,
            sumIf(p.held_ms, sm_known AND p.sm_busy_ms > 0) AS active,
            sumIf(p.sm_busy_ms, sm_known) AS busy,
            sumIf(p.held_ms, NOT sm_known) AS unmeasured,
            maxIf(p.sm_pct_max, sm_known) AS sm_max,
            least(sumIf(p.present_ms, sm_known), any(p.window_s) * 1000) AS sm_ms,
            toUInt8(if(sm_ms = 0, 0, least(round(100 * busy / sm_ms), 100))) AS sm_pct,
            least(sumIf(p.present_ms, mem_known), any(p.window_s) * 1000) AS mem_ms,
            sumIf(toUInt64(p.mem_mib_mean) * p.present_ms, mem_known) AS mem_integral,
            toUInt32(if(mem_ms = 0, 0, round(mem_integral / mem_ms))) AS mem_mean,
            greatest(maxIf(p.mem_mib_max, mem_known), mem_mean) AS mem_max,
            0 AS unheld
        FROM
        (
            SELECT
                *,
                sm_source NOT IN ('unspecified', 'unknown') AS sm_known,
                mem_source = 'driver' AS mem_known
            FROM process_usage_raw FINAL
            WHERE ts >= {hour:DateTime('UTC')} AND ts < {hour:DateTime('UTC')} + INTERVAL 1 HOUR
        ) AS p
        GROUP BY cluster, host_pool, gpu_model, pool, team, model, endpoint, use_case, host, gpu, ts
        UNION ALL
        SELECT
            cluster, host_pool, gpu_model, pool, team, model, endpoint, use_case,
            toMinute(ts) AS minute,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            toUInt64(unheld_ms)
        FROM gpu_allocation_raw FINAL
        WHERE ts >= {hour:DateTime('UTC')} AND ts < {hour:DateTime('UTC')} + INTERVAL 1 HOUR
    ),
    minutes AS
    (
        SELECT
            cluster, host_pool, gpu_model, pool, team, model, endpoint, use_case, minute,
            sum(w.held) AS held,
            sum(w.unheld) AS unheld,
            sum(w.active) AS active,
            sum(w.busy) AS busy,
            sum(w.unmeasured) AS unmeasured,
            max(w.sm_max) AS sm_max,
            sumMapIf(map(w.sm_pct, toUInt64(w.sm_ms)), w.sm_ms > 0) AS sm_histogram,
            sum(w.mem_ms) AS mem_ms,
            sum(w.mem_integral) AS mem_integral,
            minIf(w.mem_mean, w.mem_ms > 0) AS mem_min,
            countIf(w.mem_ms > 0) > 0 AS mem_known,
            max(w.mem_max) AS mem_max,
            sumMapIf(map(toUInt32(intDiv(w.mem_mean, 16) * 16), toUInt64(w.mem_ms)), w.mem_ms > 0) AS mem_histogram
        FROM windows AS w
        GROUP BY cluster, host_pool, gpu_model, pool, team, model, endpoint, use_case, minute
    )
SELECT
    {hour:DateTime('UTC')} AS hour,
    {computed_at:DateTime64(6, 'UTC')} AS computed_at,
    cluster, host_pool, gpu_model, pool, team, model, endpoint, use_case,
    sum(m.held) AS held_ms,
    sum(m.unheld) AS unheld_ms,
    sum(m.active) AS active_ms,
    sum(m.busy) AS busy_ms,
    sum(m.unmeasured) AS unmeasured_ms,
    groupArrayInsertAt(0, 60)(m.active, m.minute) AS active_gpu_ms_by_minute,
    groupArrayInsertAt(0, 60)(m.unmeasured, m.minute) AS unmeasured_gpu_ms_by_minute,
    groupArrayInsertAt(0, 60)(m.held + m.unheld, m.minute) AS allocated_gpu_ms_by_minute,
    max(m.sm_max) AS sm_pct_max,
    sumMap(m.sm_histogram) AS sm_pct_histogram,
    sum(m.mem_ms) AS mem_known_ms,
    sum(m.mem_integral) AS mem_mib_ms,
    minIf(m.mem_min, m.mem_known) AS mem_mib_min,
    max(m.mem_max) AS mem_mib_max,
    sumMap(m.mem_histogram) AS mem_mib_histogram
FROM minutes AS m
GROUP BY cluster, host_pool, gpu_model, pool, team, model, endpoint, use_case
