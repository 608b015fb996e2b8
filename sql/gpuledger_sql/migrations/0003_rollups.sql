-- Hourly roll-ups, each hour recomputed whole from raw whenever rows of it arrive.
--
-- A recomputed hour is a new version: its rows carry computed_at, and the hour's row in
-- rolled_hours, written last, says which version counts. So readers see an hour change all
-- at once in all tables, a roll-up that dies halfway changes nothing, and an owner that no
-- longer appears is gone. Superseded versions are deleted later. Read the views without
-- _versions: they show the versions that count.

CREATE TABLE IF NOT EXISTS rolled_hours
(
    hour DateTime('UTC') COMMENT 'Start of the hour',
    computed_at DateTime64(6, 'UTC') COMMENT 'Version of the hour that counts: when its computation began, by the clock of ClickHouse',
    rolled_at DateTime64(6, 'UTC') COMMENT 'When the latest roll-up of the hour began; later than computed_at if it had to keep the version'
)
ENGINE = ReplacingMergeTree(rolled_at)
PARTITION BY toYYYYMM(hour)
ORDER BY hour
TTL toStartOfDay(hour) + INTERVAL 9673 HOUR
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Which version of each rolled-up hour counts: the newest.';

CREATE TABLE IF NOT EXISTS usage_hourly_versions
(
    hour DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Start of the hour',
    computed_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Version of the hour',
    cluster LowCardinality(String) COMMENT 'Cluster of the hosts',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    pool LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    team LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    model LowCardinality(String) COMMENT 'Owner: model',
    endpoint LowCardinality(String) COMMENT 'Owner: endpoint',
    use_case LowCardinality(String) COMMENT 'Owner: use case',
    -- Names come from strangers, who must not be able to make two owners look the same.
    owner UInt64 MATERIALIZED sipHash64(cluster, host_pool, gpu_model, pool, team, model, endpoint, use_case) CODEC(ZSTD(1)) COMMENT 'Same for rows of the same owner on the same kind of GPUs: of all that a row of an hour is told from others by',
    held_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time held, milliseconds of a whole GPU',
    unheld_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time granted without a process, milliseconds of a whole GPU',
    active_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time held in windows with SM time, milliseconds of a whole GPU',
    busy_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'SM-busy time, milliseconds of a whole GPU',
    unmeasured_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time held of which nobody knows whether the SMs were busy, milliseconds of a whole GPU',
    active_gpu_ms_by_minute Array(UInt64) CODEC(T64, ZSTD(1)) COMMENT '60 values, one a minute: active_ms of it; by 60,000 the mean number of active GPUs',
    unmeasured_gpu_ms_by_minute Array(UInt64) CODEC(T64, ZSTD(1)) COMMENT '60 values, one a minute: unmeasured_ms of it',
    allocated_gpu_ms_by_minute Array(UInt64) CODEC(T64, ZSTD(1)) COMMENT '60 values, one a minute: held_ms + unheld_ms of it; by 60,000 the mean number of allocated GPUs',
    sm_pct_max UInt8 CODEC(ZSTD(1)) COMMENT 'Highest SM use sampled, percent',
    sm_pct_histogram Map(UInt8, UInt64) CODEC(ZSTD(1)) COMMENT 'SM use of one GPU in one window, percent of a whole GPU -> milliseconds of presence; unmeasured time is left out',
    mem_known_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Presence on GPUs, memory known, milliseconds, not divided among sharers',
    mem_mib_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'GPU memory x time, MiB x milliseconds',
    mem_mib_min UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Least memory on one GPU, mean of a window, MiB; 0 if memory was never known',
    mem_mib_max UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Most memory on one GPU at any tick, MiB; 0 if memory was never known',
    mem_mib_histogram Map(UInt32, UInt64) CODEC(ZSTD(1)) COMMENT 'Memory on one GPU, mean of a window, in steps of 16 MiB (the lower edge) -> milliseconds of presence'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, computed_at, pool, team, model, endpoint, use_case, gpu_model, cluster, host_pool)
TTL toStartOfDay(hour) + INTERVAL 9673 HOUR
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'What each owner held and used, by hour, all versions. Read usage_hourly instead.';

-- Requests and prices are matched to owners, of which there are few, not to hours. One more than
-- there are hurts nobody: it meets no hour.
CREATE TABLE IF NOT EXISTS owners_seen
(
    cluster LowCardinality(String) COMMENT 'Cluster of the hosts',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    pool LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    team LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    model LowCardinality(String) COMMENT 'Owner: model',
    endpoint LowCardinality(String) COMMENT 'Owner: endpoint',
    use_case LowCardinality(String) COMMENT 'Owner: use case',
    owner UInt64 COMMENT 'The same as in usage_hourly'
)
ENGINE = ReplacingMergeTree
ORDER BY (team, model, endpoint, use_case, pool, gpu_model, host_pool, cluster)
COMMENT 'Owners that stand in any version of any hour, with the GPUs that they used.';

CREATE MATERIALIZED VIEW IF NOT EXISTS usage_hourly_owners TO owners_seen AS
SELECT DISTINCT cluster, host_pool, gpu_model, pool, team, model, endpoint, use_case, owner
FROM usage_hourly_versions;

CREATE TABLE IF NOT EXISTS capacity_hourly_versions
(
    hour DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Start of the hour',
    computed_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Version of the hour',
    cluster LowCardinality(String) COMMENT 'Cluster of the hosts',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    first_seen DateTime('UTC') COMMENT 'Start of the first window observed in the hour',
    last_seen DateTime('UTC') COMMENT 'End of the last window observed in the hour',
    hosts UInt32 COMMENT 'Hosts that reported',
    gpus UInt32 COMMENT 'GPUs (or MIG instances) that were observed',
    observed_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time observed: the capacity, milliseconds of a whole GPU',
    unallocated_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time neither held nor granted, milliseconds of a whole GPU',
    busy_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'SM-busy time by the devices themselves, milliseconds of a whole GPU',
    observed_gpu_ms_by_minute Array(UInt64) CODEC(T64, ZSTD(1)) COMMENT '60 values, one a minute: observed_ms of it',
    mem_total_mib_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'GPU memory x observed time, MiB x milliseconds; by observed_ms the memory of a whole GPU; 0 if unknown'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, computed_at, host_pool, gpu_model, cluster)
TTL toStartOfDay(hour) + INTERVAL 9673 HOUR
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'What the GPUs offered, by hour, all versions. Read capacity_hourly instead.';

-- Which pools have GPUs, and of which models, is asked by all that matches requests to the fleet, and
-- is to be known when the hours have gone.
CREATE TABLE IF NOT EXISTS fleet_seen
(
    cluster LowCardinality(String) COMMENT 'Cluster of the hosts',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    observed_ms UInt64 COMMENT 'A weight: time observed, milliseconds of a whole GPU, some of it counted more than once',
    mem_total_mib_ms UInt64 COMMENT 'GPU memory x the same time, MiB x milliseconds; by observed_ms the memory of a whole GPU; 0 if unknown'
)
ENGINE = SummingMergeTree
ORDER BY (host_pool, gpu_model, cluster)
COMMENT 'Every cluster, pool and GPU model there was, in any version of any hour. Rows of the same add up.';

CREATE MATERIALIZED VIEW IF NOT EXISTS capacity_hourly_fleet TO fleet_seen AS
SELECT cluster, host_pool, gpu_model, observed_ms, mem_total_mib_ms
FROM capacity_hourly_versions
WHERE observed_ms > 0;

CREATE TABLE IF NOT EXISTS workload_hourly_versions
(
    hour DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Start of the hour',
    computed_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Version of the hour',
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
    workload String CODEC(ZSTD(1)) COMMENT 'Name of the workload, unique on its host',
    process_name LowCardinality(String) COMMENT 'Command name, kept where the work has no team; else empty',
    user LowCardinality(String) COMMENT 'User, kept where the work has no team; else empty',
    first_seen DateTime('UTC') COMMENT 'Start of its first window in the hour',
    last_seen DateTime('UTC') COMMENT 'End of its last window in the hour',
    last_worked DateTime('UTC') COMMENT 'End of the last window in which it had SM time or none could tell; 1970-01-01 if none',
    held_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time held, milliseconds of a whole GPU',
    unheld_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time granted without a process, milliseconds of a whole GPU',
    active_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time held in windows with SM time, milliseconds of a whole GPU',
    busy_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'SM-busy time, milliseconds of a whole GPU',
    unmeasured_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time held of which nobody knows whether the SMs were busy, milliseconds of a whole GPU',
    idle_after_work_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Idle time after last_worked, milliseconds of a whole GPU',
    mem_mib_max UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Most memory of one of its processes, MiB'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, computed_at, cluster, host, gpu, workload_kind, workload, pool, team, model, endpoint, use_case, process_name, user, host_pool, gpu_model)
TTL toStartOfDay(hour) + INTERVAL 9673 HOUR
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'What each workload held and used on each GPU, by hour, all versions. Read workload_hourly instead.';

CREATE TABLE IF NOT EXISTS isolation_hourly_versions
(
    hour DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Start of the hour',
    computed_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Version of the hour',
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host',
    gpu LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance that the foreign work was on',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    shares LowCardinality(String) COMMENT 'gpu, host or nothing; see isolation_violations',
    pools Array(LowCardinality(String)) COMMENT 'Pools of the foreign work',
    teams Array(LowCardinality(String)) COMMENT 'Teams of the foreign work',
    workloads Array(String) COMMENT 'The foreign work, 10 at most',
    foreign_gpu_hours Float64 COMMENT 'Allocated to work of pools other than host_pool, GPU-hours'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, computed_at, cluster, host, gpu, gpu_model, host_pool)
TTL toStartOfDay(hour) + INTERVAL 9673 HOUR
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Work of one pool on the hardware of another, by hour and GPU, all versions. Read isolation_violations instead.';

ALTER TABLE capacity_requests
    ADD COLUMN IF NOT EXISTS request_group UInt64
    MATERIALIZED cityHash64(team, pool, model, endpoint, use_case, lowerUTF8(gpu_model))
    COMMENT 'Same for requests that ask for the same' AFTER applied_at;
