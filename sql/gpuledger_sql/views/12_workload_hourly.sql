-- What did each workload do on each GPU? The versions of hours that count; see migrations/0003_rollups.sql.
CREATE OR REPLACE VIEW workload_hourly
(
    hour DateTime('UTC') COMMENT 'Start of the hour',
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    gpu LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    pool LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    team LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    model LowCardinality(String) COMMENT 'Owner: model',
    endpoint LowCardinality(String) COMMENT 'Owner: endpoint',
    use_case LowCardinality(String) COMMENT 'Owner: use case',
    workload_kind LowCardinality(String) COMMENT 'process, container, pod, slurm_job or unit',
    workload String COMMENT 'Name of the workload, unique on its host',
    process_name LowCardinality(String) COMMENT 'Command name, kept where the work has no team; else empty',
    user LowCardinality(String) COMMENT 'User, kept where the work has no team; else empty',
    first_seen DateTime('UTC') COMMENT 'Start of its first window in the hour',
    last_seen DateTime('UTC') COMMENT 'End of its last window in the hour',
    last_worked DateTime('UTC') COMMENT 'End of the last window in which it had SM time or none could tell; 1970-01-01 if none',
    held_ms UInt64 COMMENT 'Time held, milliseconds of a whole GPU',
    unheld_ms UInt64 COMMENT 'Time granted without a process, milliseconds of a whole GPU',
    active_ms UInt64 COMMENT 'Time held in windows with SM time, milliseconds of a whole GPU',
    busy_ms UInt64 COMMENT 'SM-busy time, milliseconds of a whole GPU',
    unmeasured_ms UInt64 COMMENT 'Time held of which nobody knows whether the SMs were busy, milliseconds of a whole GPU',
    idle_after_work_ms UInt64 COMMENT 'Idle time after last_worked, milliseconds of a whole GPU',
    mem_mib_max UInt32 COMMENT 'Most memory of one of its processes, MiB'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    hour,
    cluster,
    host,
    host_pool,
    gpu,
    gpu_model,
    pool,
    team,
    model,
    endpoint,
    use_case,
    workload_kind,
    workload,
    process_name,
    user,
    first_seen,
    last_seen,
    last_worked,
    held_ms,
    unheld_ms,
    active_ms,
    busy_ms,
    unmeasured_ms,
    idle_after_work_ms,
    mem_mib_max
FROM workload_hourly_versions FINAL
WHERE hour >= (SELECT hourly_from FROM kept_from)
    AND (hour, computed_at) IN (SELECT hour, argMax(computed_at, rolled_at) FROM rolled_hours GROUP BY hour)
COMMENT 'What each workload held and used on each GPU, by hour. Sums of milliseconds of whole GPUs.'
