-- What did each owner hold and use? The versions of hours that count; see migrations/0003_rollups.sql.
CREATE OR REPLACE VIEW usage_hourly
(
    hour DateTime('UTC') COMMENT 'Start of the hour',
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
    active_gpu_ms_by_minute Array(UInt64) COMMENT '60 values, one a minute: active_ms of it; by 60,000 the mean number of active GPUs',
    unmeasured_gpu_ms_by_minute Array(UInt64) COMMENT '60 values, one a minute: unmeasured_ms of it',
    allocated_gpu_ms_by_minute Array(UInt64) COMMENT '60 values, one a minute: held_ms + unheld_ms of it; by 60,000 the mean number of allocated GPUs',
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
    hour,
    cluster,
    host_pool,
    gpu_model,
    pool,
    team,
    model,
    endpoint,
    use_case,
    owner,
    held_ms,
    unheld_ms,
    active_ms,
    busy_ms,
    unmeasured_ms,
    active_gpu_ms_by_minute,
    unmeasured_gpu_ms_by_minute,
    allocated_gpu_ms_by_minute,
    sm_pct_max,
    sm_pct_histogram,
    mem_known_ms,
    mem_mib_ms,
    mem_mib_min,
    mem_mib_max,
    mem_mib_histogram
FROM usage_hourly_versions FINAL
WHERE hour >= (SELECT hourly_from FROM kept_from)
    AND (hour, computed_at) IN (SELECT hour, argMax(computed_at, rolled_at) FROM rolled_hours GROUP BY hour)
COMMENT 'What each owner held and used, by hour. Sums of milliseconds of whole GPUs, see docs/books.md.'
