-- What did each owner hold and use, day by day?
CREATE OR REPLACE VIEW usage_daily
(
    day Date COMMENT 'Day, UTC',
    cluster LowCardinality(String) COMMENT 'Cluster of the hosts',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    pool LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    team LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    model LowCardinality(String) COMMENT 'Owner: model',
    endpoint LowCardinality(String) COMMENT 'Owner: endpoint',
    use_case LowCardinality(String) COMMENT 'Owner: use case',
    held_ms UInt64 COMMENT 'Time held, milliseconds of a whole GPU',
    unheld_ms UInt64 COMMENT 'Time granted without a process, milliseconds of a whole GPU',
    active_ms UInt64 COMMENT 'Time held in windows with SM time, milliseconds of a whole GPU',
    busy_ms UInt64 COMMENT 'SM-busy time, milliseconds of a whole GPU',
    unmeasured_ms UInt64 COMMENT 'Time held of which nobody knows whether the SMs were busy, milliseconds of a whole GPU',
    sm_pct_max UInt8 COMMENT 'Highest SM use sampled, percent',
    sm_pct_histogram Map(UInt8, UInt64) COMMENT 'SM use of one GPU in one window, percent of a whole GPU -> milliseconds of presence; unmeasured time is left out',
    mem_known_ms UInt64 COMMENT 'Presence on GPUs, memory known, milliseconds, not divided among sharers',
    mem_mib_ms UInt64 COMMENT 'GPU memory x time, MiB x milliseconds',
    mem_mib_min UInt32 COMMENT 'Least memory on one GPU, mean of a window, MiB; 0 if memory was never known',
    mem_mib_max UInt32 COMMENT 'Most memory on one GPU at any tick, MiB; 0 if memory was never known',
    mem_mib_histogram Map(UInt32, UInt64) COMMENT 'Memory on one GPU, mean of a window, in steps of 16 MiB (the lower edge) -> milliseconds of presence'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    toDate(u.hour) AS day,
    cluster,
    host_pool,
    gpu_model,
    pool,
    team,
    model,
    endpoint,
    use_case,
    sum(u.held_ms) AS held_ms,
    sum(u.unheld_ms) AS unheld_ms,
    sum(u.active_ms) AS active_ms,
    sum(u.busy_ms) AS busy_ms,
    sum(u.unmeasured_ms) AS unmeasured_ms,
    max(u.sm_pct_max) AS sm_pct_max,
    sumMap(u.sm_pct_histogram) AS sm_pct_histogram,
    sum(u.mem_known_ms) AS mem_known_ms,
    sum(u.mem_mib_ms) AS mem_mib_ms,
    minIf(u.mem_mib_min, u.mem_known_ms > 0) AS mem_mib_min,
    max(u.mem_mib_max) AS mem_mib_max,
    sumMap(u.mem_mib_histogram) AS mem_mib_histogram
FROM usage_hourly AS u
WHERE u.hour >= toDateTime((SELECT hours_from FROM read_by_hour), 'UTC')
GROUP BY day, cluster, host_pool, gpu_model, pool, team, model, endpoint, use_case
UNION ALL
SELECT
    day,
    cluster,
    host_pool,
    gpu_model,
    pool,
    team,
    model,
    endpoint,
    use_case,
    held_ms,
    unheld_ms,
    active_ms,
    busy_ms,
    unmeasured_ms,
    sm_pct_max,
    sm_pct_histogram,
    mem_known_ms,
    mem_mib_ms,
    mem_mib_min,
    mem_mib_max,
    mem_mib_histogram
FROM usage_daily_versions FINAL
WHERE day < (SELECT hours_from FROM read_by_hour)
    AND (day, computed_at) IN (SELECT day, max(computed_at) FROM rolled_days GROUP BY day)
COMMENT 'What each owner held and used, by day. Sums of milliseconds of whole GPUs, see docs/books.md.'
