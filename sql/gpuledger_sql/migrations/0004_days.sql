-- How long windows and hours are kept, and the days that stay when hours have gone.
--
-- A day is a day of UTC and goes whole. Of N days of retention the present one is the first. A day
-- that is over them ceases to count at midnight (view kept_from) and is dropped an hour later (the
-- TTL of its tables: 24 N + 1 hours), so that nobody reads half of it.
--
-- Days are computed by the very views that show them, from the hours that count, and written here
-- as versions (as hours are: see 0003_rollups.sql); the day's newest row in rolled_days says which
-- counts. The views read hours as long as there are hours, and days from here on.

CREATE TABLE IF NOT EXISTS retention
(
    kind LowCardinality(String) COMMENT 'raw: windows. hourly: hours. daily: days',
    days UInt32 COMMENT 'Days that are kept, the present one included; 0: for ever',
    stated LowCardinality(String) COMMENT 'The same as it was set: 14d, 13mo, 2y or forever',
    applied_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC') COMMENT 'From when on',
    whole_from DateTime('UTC') COMMENT 'Start of the first day that earlier settings had left whole by then; 1970-01-01: all there were'
)
ENGINE = MergeTree
ORDER BY (kind, applied_at)
COMMENT 'How long things are kept, every setting there was; the latest counts. Written by gpuledger migrate, together with the TTLs.';

INSERT INTO retention (kind, days, stated)
SELECT *
FROM values('kind String, days UInt32, stated String', ('raw', 14, '14d'), ('hourly', 403, '13mo'), ('daily', 0, 'forever'))
WHERE (SELECT count() FROM retention) = 0;

CREATE TABLE IF NOT EXISTS rolled_days
(
    day Date COMMENT 'Day, UTC',
    computed_at DateTime64(6, 'UTC') COMMENT 'Version of the day that counts: when its computation began, by the clock of ClickHouse'
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(day)
ORDER BY day
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Which version of each day counts: the newest.';

CREATE TABLE IF NOT EXISTS usage_daily_versions
(
    day Date CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Day, UTC',
    computed_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Version of the day',
    cluster LowCardinality(String) COMMENT 'Cluster of the hosts',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    pool LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    team LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    model LowCardinality(String) COMMENT 'Owner: model',
    endpoint LowCardinality(String) COMMENT 'Owner: endpoint',
    use_case LowCardinality(String) COMMENT 'Owner: use case',
    held_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time held, milliseconds of a whole GPU',
    unheld_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time granted without a process, milliseconds of a whole GPU',
    active_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time held in windows with SM time, milliseconds of a whole GPU',
    busy_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'SM-busy time, milliseconds of a whole GPU',
    unmeasured_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time held of which nobody knows whether the SMs were busy, milliseconds of a whole GPU',
    sm_pct_max UInt8 CODEC(ZSTD(1)) COMMENT 'Highest SM use sampled, percent',
    sm_pct_histogram Map(UInt8, UInt64) CODEC(ZSTD(1)) COMMENT 'SM use of one GPU in one window, percent of a whole GPU -> milliseconds of presence; unmeasured time is left out',
    mem_known_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Presence on GPUs, memory known, milliseconds, not divided among sharers',
    mem_mib_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'GPU memory x time, MiB x milliseconds',
    mem_mib_min UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Least memory on one GPU, mean of a window, MiB; 0 if memory was never known',
    mem_mib_max UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Most memory on one GPU at any tick, MiB; 0 if memory was never known',
    mem_mib_histogram Map(UInt32, UInt64) CODEC(ZSTD(1)) COMMENT 'Memory on one GPU, mean of a window, in steps of 16 MiB (the lower edge) -> milliseconds of presence'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, computed_at, pool, team, model, endpoint, use_case, gpu_model, cluster, host_pool)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'What each owner held and used, by day, all versions. Read usage_daily instead.';

CREATE TABLE IF NOT EXISTS capacity_daily_versions
(
    day Date CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Day, UTC',
    computed_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Version of the day',
    cluster LowCardinality(String) COMMENT 'Cluster of the hosts',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    hosts_max UInt32 COMMENT 'Hosts that reported in an hour, at most',
    gpus_max UInt32 COMMENT 'GPUs (or MIG instances) that were observed in an hour, at most',
    observed_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time observed: the capacity, milliseconds of a whole GPU',
    unallocated_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time neither held nor granted, milliseconds of a whole GPU',
    busy_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'SM-busy time by the devices themselves, milliseconds of a whole GPU',
    mem_total_mib_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'GPU memory x observed time, MiB x milliseconds; by observed_ms the memory of a whole GPU; 0 if unknown'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, computed_at, host_pool, gpu_model, cluster)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'What the GPUs offered, by day, all versions. Read capacity_daily instead.';

CREATE TABLE IF NOT EXISTS ledger_daily_versions
(
    day Date CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Day, UTC',
    computed_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Version of the day',
    cluster LowCardinality(String) COMMENT 'Cluster; empty for requests that more than one cluster could serve',
    pool LowCardinality(String) COMMENT 'Pool that the workload or request belongs to',
    team LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    model LowCardinality(String) COMMENT 'Model; empty: not said, or any',
    endpoint LowCardinality(String) COMMENT 'Endpoint; empty: not said, or any',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it; as in the request where several fit',
    requested_gpu_hours Float64 CODEC(ZSTD(1)) COMMENT 'Asked for by approved requests, GPU-hours',
    allocated_gpu_hours Float64 CODEC(ZSTD(1)) COMMENT 'Held, or granted without a process, GPU-hours',
    held_gpu_hours Float64 CODEC(ZSTD(1)) COMMENT 'A process was there, GPU-hours',
    active_gpu_hours Float64 CODEC(ZSTD(1)) COMMENT 'Held in windows with SM time, GPU-hours',
    busy_gpu_hours Float64 CODEC(ZSTD(1)) COMMENT 'SMs busy, GPU-hours',
    unmeasured_gpu_hours Float64 CODEC(ZSTD(1)) COMMENT 'Held, and nobody can say whether the SMs were busy; nobody''s waste, GPU-hours',
    unclaimed_gpu_hours Float64 CODEC(ZSTD(1)) COMMENT 'Waste: requested and not allocated, GPU-hours',
    idle_gpu_hours Float64 CODEC(ZSTD(1)) COMMENT 'Waste: allocated in windows without SM time, GPU-hours',
    underused_gpu_hours Float64 CODEC(ZSTD(1)) COMMENT 'Waste: active and not busy, GPU-hours',
    waste_gpu_hours Float64 CODEC(ZSTD(1)) COMMENT 'Unclaimed + idle + underused, GPU-hours',
    allocated_usd Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Price of what was allocated, USD; NULL: no price known',
    waste_usd Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Price of the waste, USD; NULL: no price known, then see unpriced_waste_gpu_hours',
    unpriced_waste_gpu_hours Float64 CODEC(ZSTD(1)) COMMENT 'Waste that waste_usd leaves out because no price is known, GPU-hours',
    requested_gib_hours Float64 CODEC(ZSTD(1)) COMMENT 'Memory of the requested GPUs, GiB-hours; 0 where the GPU model is not known',
    allocated_gib_hours Float64 CODEC(ZSTD(1)) COMMENT 'Memory of the allocated GPUs, GiB-hours',
    used_gib_hours Float64 CODEC(ZSTD(1)) COMMENT 'Memory that processes used, GiB-hours'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, computed_at, pool, team, model, endpoint, gpu_model, cluster)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'The ledger by day, with the requests and prices that counted then, all versions. Read ledger_daily instead.';

CREATE TABLE IF NOT EXISTS resource_profile_versions
(
    day Date CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Day, UTC',
    computed_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Version of the day',
    team LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    model LowCardinality(String) COMMENT 'Model; empty: not said',
    endpoint LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    pool LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    mem_mib_min Nullable(UInt32) CODEC(ZSTD(1)) COMMENT 'Least memory on one GPU, mean of a window, MiB; NULL: the driver does not say',
    mem_mib_p50 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Memory on one GPU, median, MiB, within 8',
    mem_mib_p95 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Memory on one GPU, 95th percentile, MiB, within 8',
    mem_mib_p99 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Memory on one GPU, 99th percentile, MiB, within 8',
    mem_mib_max Nullable(UInt32) CODEC(ZSTD(1)) COMMENT 'Most memory on one GPU at any tick, MiB',
    sm_pct_min Nullable(UInt8) CODEC(ZSTD(1)) COMMENT 'Least SM use of one GPU, mean of a window, percent of a whole GPU; NULL: never measured',
    sm_pct_p50 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'SM use of one GPU, median, percent of a whole GPU',
    sm_pct_p95 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'SM use of one GPU, 95th percentile, percent of a whole GPU',
    sm_pct_p99 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'SM use of one GPU, 99th percentile, percent of a whole GPU',
    sm_pct_max Nullable(UInt8) CODEC(ZSTD(1)) COMMENT 'Highest SM use sampled at any tick, percent',
    used_gpus_p50 Float64 CODEC(ZSTD(1)) COMMENT 'GPUs active at a time, median of minutes, whole GPUs',
    used_gpus_p95 Float64 CODEC(ZSTD(1)) COMMENT 'GPUs active at a time, 95th percentile of minutes, whole GPUs',
    used_gpus_max Float64 CODEC(ZSTD(1)) COMMENT 'GPUs active at a time, highest minute, whole GPUs',
    allocated_gpus_p50 Float64 CODEC(ZSTD(1)) COMMENT 'GPUs allocated at a time, median of minutes, whole GPUs',
    allocated_gpus_p95 Float64 CODEC(ZSTD(1)) COMMENT 'GPUs allocated at a time, 95th percentile of minutes, whole GPUs',
    used_minutes Map(UInt64, UInt64) CODEC(ZSTD(1)) COMMENT 'GPU time active in a minute, milliseconds of a whole GPU -> minutes of the day in which anything was allocated; adds up over days',
    allocated_minutes Map(UInt64, UInt64) CODEC(ZSTD(1)) COMMENT 'GPU time allocated in a minute, milliseconds of a whole GPU -> minutes of the day; adds up over days',
    held_gpu_hours Float64 CODEC(ZSTD(1)) COMMENT 'A process was there, GPU-hours',
    unmeasured_gpu_hours Float64 CODEC(ZSTD(1)) COMMENT 'Held, and nobody can say whether the SMs were busy, GPU-hours'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, computed_at, pool, team, model, endpoint, gpu_model)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Measured needs of every owner, by day, all versions. Read resource_profile instead.';
