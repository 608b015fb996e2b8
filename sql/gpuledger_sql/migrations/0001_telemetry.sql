-- What hosts report: raw windows and inventory.
--
-- The raw tables replace rows of equal key, so a batch that is sent twice is stored once; the
-- key is the whole identity of a window. The public names (views) read them deduplicated.
-- Primary keys hold the hour, not the second: a bare time filter then prunes granules.

CREATE TABLE process_usage_raw
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
    workload String CODEC(ZSTD(1)) COMMENT 'Name of the workload, unique on its host',
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
ORDER BY (pool, toStartOfHour(ts), host, gpu, pid, process_start, ts)
TTL toDate(ts) + INTERVAL 14 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Raw windows per process and GPU, before deduplication. Read process_usage instead.';
