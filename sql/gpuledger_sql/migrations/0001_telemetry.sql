-- What hosts report: raw windows and inventory.
--
-- The raw tables replace rows of equal key, so a batch that is sent twice is stored once; the
-- key is the whole identity of a window. The public names (views) read them deduplicated.
-- Primary keys hold the hour, not the second: a bare time filter then prunes granules.
-- Days are partitions, so that old ones are dropped whole: see 0004_days.sql.

CREATE TABLE IF NOT EXISTS process_usage_raw
(
    ts DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Start of the window',
    window_s UInt16 CODEC(ZSTD(1)) COMMENT 'Length of the window, seconds',
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host that reported the row',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    gpu LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    pid UInt32 CODEC(ZSTD(1)) COMMENT 'Process id on the host; 0: work that no listed process explains',
    process_start DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'Start of the process; 1970-01-01 if it could not be seen',
    process_name LowCardinality(String) COMMENT 'Command name (comm) of the process',
    user LowCardinality(String) COMMENT 'User that the process runs as',
    team LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    model LowCardinality(String) COMMENT 'Owner: model',
    endpoint LowCardinality(String) COMMENT 'Owner: endpoint',
    use_case LowCardinality(String) COMMENT 'Owner: use case',
    pool LowCardinality(String) COMMENT 'Pool that the workload says it belongs to',
    workload_kind LowCardinality(String) COMMENT 'process, container, pod, slurm_job or unit',
    workload LowCardinality(String) COMMENT 'Name of the workload, unique on its host',
    owner_source LowCardinality(String) COMMENT 'Resolver that named the owner, empty if none could',
    context Enum8('unspecified' = 0, 'compute' = 1, 'graphics' = 2, 'mps' = 3) COMMENT 'Kind of GPU context',
    present_ms UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Time the process was seen on this GPU, milliseconds, not divided among sharers',
    held_ms UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Its share of the time the GPU was held, milliseconds of a whole GPU',
    sm_busy_ms UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Its share of the time the SMs were busy, milliseconds of a whole GPU',
    sm_pct_max UInt8 CODEC(ZSTD(1)) COMMENT 'Highest SM use sampled, percent',
    sm_source Enum8('unspecified' = 0, 'process' = 1, 'device' = 2, 'apportioned' = 3, 'gpm' = 4, 'unknown' = 5) COMMENT 'Where the SM figures come from; unknown: they are 0 and mean nothing',
    mem_mib_mean UInt32 CODEC(T64, ZSTD(1)) COMMENT 'GPU memory of the process, mean over its presence, MiB',
    mem_mib_max UInt32 CODEC(T64, ZSTD(1)) COMMENT 'GPU memory of the process, highest, MiB',
    mem_source Enum8('unspecified' = 0, 'driver' = 1, 'unknown' = 2) COMMENT 'Where the memory figures come from; unknown: they are 0 and mean nothing'
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
PRIMARY KEY (pool, toStartOfHour(ts), host, gpu)
ORDER BY (pool, toStartOfHour(ts), host, gpu, pid, process_start, ts, cluster)
TTL toStartOfDay(ts) + INTERVAL 337 HOUR
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Raw windows per process and GPU, before deduplication. Read process_usage instead.';

CREATE TABLE IF NOT EXISTS gpu_usage_raw
(
    ts DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Start of the window',
    window_s UInt16 CODEC(ZSTD(1)) COMMENT 'Length of the window, seconds',
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host that reported the row',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    gpu LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    gpu_index UInt16 CODEC(ZSTD(1)) COMMENT 'Ordinal of the physical GPU on its host',
    observed_ms UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Time the agent watched the GPU, milliseconds of a whole GPU',
    unallocated_ms UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Observed time in which nobody held the GPU or was granted it, milliseconds of a whole GPU',
    sm_busy_ms UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Time the SMs were busy, milliseconds of a whole GPU',
    sm_pct_max UInt8 CODEC(ZSTD(1)) COMMENT 'Highest SM use sampled, percent',
    sm_source Enum8('unspecified' = 0, 'process' = 1, 'device' = 2, 'apportioned' = 3, 'gpm' = 4, 'unknown' = 5) COMMENT 'Where the SM figures come from; unknown: they are 0 and mean nothing',
    mem_mib_mean UInt32 CODEC(T64, ZSTD(1)) COMMENT 'GPU memory in use, mean, MiB',
    mem_mib_max UInt32 CODEC(T64, ZSTD(1)) COMMENT 'GPU memory in use, highest, MiB',
    mem_total_mib UInt32 CODEC(T64, ZSTD(1)) COMMENT 'GPU memory there is, MiB',
    power_w_mean UInt16 CODEC(T64, ZSTD(1)) COMMENT 'Power, mean, watts',
    power_w_max UInt16 CODEC(T64, ZSTD(1)) COMMENT 'Power, highest, watts',
    temperature_c_max UInt16 CODEC(T64, ZSTD(1)) COMMENT 'Temperature, highest, degrees Celsius',
    sm_clock_mhz_mean UInt16 CODEC(T64, ZSTD(1)) COMMENT 'SM clock, mean, MHz',
    tensor_pct_mean UInt8 CODEC(ZSTD(1)) COMMENT 'Tensor core activity, mean, percent',
    dram_pct_mean UInt8 CODEC(ZSTD(1)) COMMENT 'Memory bandwidth in use, mean, percent',
    ecc_uncorrected UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Volatile uncorrected ECC errors since the driver was loaded',
    xid UInt16 CODEC(ZSTD(1)) COMMENT 'Latest Xid in the window, 0 if none',
    offered UInt16 CODEC(ZSTD(1)) COMMENT 'Which gauges the GPU offers: 1 memory, 2 power, 4 temperature, 8 clock, 16 GPM, 32 ECC; others are 0 and mean nothing'
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
PRIMARY KEY (host_pool, toStartOfHour(ts), host, gpu)
ORDER BY (host_pool, toStartOfHour(ts), host, gpu, ts, cluster)
TTL toStartOfDay(ts) + INTERVAL 337 HOUR
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Raw windows per GPU, before deduplication. Read gpu_usage instead.';

CREATE TABLE IF NOT EXISTS gpu_allocation_raw
(
    ts DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Start of the window',
    window_s UInt16 CODEC(ZSTD(1)) COMMENT 'Length of the window, seconds',
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host that reported the row',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    gpu LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    team LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    model LowCardinality(String) COMMENT 'Owner: model',
    endpoint LowCardinality(String) COMMENT 'Owner: endpoint',
    use_case LowCardinality(String) COMMENT 'Owner: use case',
    pool LowCardinality(String) COMMENT 'Pool that the workload says it belongs to',
    workload_kind LowCardinality(String) COMMENT 'process, container, pod, slurm_job or unit',
    workload LowCardinality(String) COMMENT 'Name of the workload, unique on its host',
    owner_source LowCardinality(String) COMMENT 'Resolver that named the owner, empty if none could',
    grant_source LowCardinality(String) COMMENT 'Who granted the GPU',
    granted_ms UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Time the grant covered, divided among those granted the same GPU, milliseconds of a whole GPU',
    unheld_ms UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Part of the time the GPU was not held that falls to this grant, milliseconds of a whole GPU',
    share_milli UInt16 CODEC(T64, ZSTD(1)) COMMENT 'Part of the GPU or MIG instance that was granted, thousandths; 0: not told'
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
PRIMARY KEY (pool, toStartOfHour(ts), host, gpu)
ORDER BY (pool, toStartOfHour(ts), host, gpu, workload_kind, workload, grant_source, ts, cluster)
TTL toStartOfDay(ts) + INTERVAL 337 HOUR
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Raw windows per GPU and workload that was granted it, before deduplication. Read gpu_allocation instead.';

CREATE TABLE IF NOT EXISTS agent_health_raw
(
    ts DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Start of the window',
    window_s UInt16 CODEC(ZSTD(1)) COMMENT 'Length of the window, seconds',
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host that reported the row',
    ticks UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Readings of a GPU',
    ticks_missed UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Readings that were due and did not happen',
    tick_ms_max UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Longest reading, milliseconds',
    gpus UInt32 CODEC(T64, ZSTD(1)) COMMENT 'GPUs that the driver knows',
    gpus_failed UInt32 CODEC(T64, ZSTD(1)) COMMENT 'GPUs lost, hung or failing',
    processes UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Processes on the GPUs',
    processes_unattributed UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Processes without a team',
    spool_batches UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Batches on the disk of the host that wait for an ack',
    spool_bytes UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Bytes of these',
    rows_dropped UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Rows given up since the agent started',
    rows_refused UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Rows that a collector refused since the agent started',
    cpu_ms UInt32 CODEC(T64, ZSTD(1)) COMMENT 'CPU time of the agent, milliseconds',
    rss_mib UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Resident memory of the agent, MiB',
    clock_step_ms UInt32 CODEC(T64, ZSTD(1)) COMMENT 'How far the wall clock was stepped, milliseconds',
    agent_version LowCardinality(String) COMMENT 'Version of the agent'
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
PRIMARY KEY (toStartOfHour(ts), host)
ORDER BY (toStartOfHour(ts), host, ts, cluster)
TTL toStartOfDay(ts) + INTERVAL 337 HOUR
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Raw windows of the agents themselves, before deduplication. Read agent_health instead.';

CREATE TABLE IF NOT EXISTS telemetry_gaps_raw
(
    ts DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'From when on windows are missing',
    gap_s UInt32 CODEC(T64, ZSTD(1)) COMMENT 'For how long, seconds; it ends within the same day',
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host whose windows are missing',
    rows UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Rows lost, of all tables; 0: nobody knows, or none were made',
    reason Enum8('unspecified' = 0, 'spool_full' = 1, 'spool_age' = 2, 'disk' = 3, 'corrupt' = 4, 'refused' = 5, 'stopped' = 6) COMMENT 'Why: the host had no room for them, they were too old, its disk failed or damaged them, a collector refused them, the agent did not run'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (toStartOfHour(ts), host, ts, reason, cluster, gap_s, rows)
TTL toStartOfDay(ts) + INTERVAL 9673 HOUR
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Telemetry that will never come, before deduplication. Read telemetry_gaps instead.';

CREATE TABLE IF NOT EXISTS hosts_raw
(
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host String COMMENT 'Name of the host',
    host_pool LowCardinality(String) COMMENT 'Pool that its GPUs belong to',
    agent_version LowCardinality(String) COMMENT 'Version of the agent',
    boot_id String COMMENT 'Id of the present boot',
    driver_version LowCardinality(String) COMMENT 'Driver version, empty while no driver answers',
    labels Map(LowCardinality(String), String) COMMENT 'Further labels of the host, as configured',
    seen_at DateTime64(3, 'UTC') COMMENT 'When the host last introduced itself'
)
ENGINE = ReplacingMergeTree(seen_at)
ORDER BY (cluster, host)
COMMENT 'Hosts, every version. Read hosts instead.';

CREATE TABLE IF NOT EXISTS gpus_raw
(
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host String COMMENT 'Host that the GPU is in',
    gpu String COMMENT 'UUID of the GPU or MIG instance',
    gpu_index UInt16 COMMENT 'Ordinal of the physical GPU on its host',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    memory_mib UInt32 COMMENT 'Memory, MiB; 0 if the driver does not say',
    parent_gpu String COMMENT 'UUID of the physical GPU that a MIG instance is cut from, else empty',
    share_milli UInt16 COMMENT 'Share of a physical GPU, thousandths',
    mig_profile LowCardinality(String) COMMENT 'MIG profile as NVML names it, else empty',
    seen_at DateTime64(3, 'UTC') COMMENT 'When its host last reported it'
)
ENGINE = ReplacingMergeTree(seen_at)
ORDER BY (cluster, host, gpu)
COMMENT 'GPUs and MIG instances, every version. Read gpus instead.';

CREATE TABLE IF NOT EXISTS touched_hours
(
    hour DateTime('UTC') COMMENT 'Start of an hour of which raw rows arrived',
    touched_at DateTime64(6, 'UTC') COMMENT 'When the latest of them arrived, by the clock of ClickHouse'
)
ENGINE = ReplacingMergeTree(touched_at)
PARTITION BY toYYYYMM(hour)
ORDER BY hour
TTL toStartOfDay(hour) + INTERVAL 9673 HOUR
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Hours to roll up again: see rolled_hours.';

CREATE MATERIALIZED VIEW IF NOT EXISTS process_usage_touch TO touched_hours AS
SELECT DISTINCT toStartOfHour(ts) AS hour, now64(6, 'UTC') AS touched_at
FROM process_usage_raw;

CREATE MATERIALIZED VIEW IF NOT EXISTS gpu_usage_touch TO touched_hours AS
SELECT DISTINCT toStartOfHour(ts) AS hour, now64(6, 'UTC') AS touched_at
FROM gpu_usage_raw;

CREATE MATERIALIZED VIEW IF NOT EXISTS gpu_allocation_touch TO touched_hours AS
SELECT DISTINCT toStartOfHour(ts) AS hour, now64(6, 'UTC') AS touched_at
FROM gpu_allocation_raw;
