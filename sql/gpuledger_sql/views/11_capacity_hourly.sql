-- What did the GPUs offer? The versions of hours that count; see migrations/0003_rollups.sql.
CREATE OR REPLACE VIEW capacity_hourly
(
    hour DateTime('UTC') COMMENT 'Start of the hour',
    cluster LowCardinality(String) COMMENT 'Cluster of the hosts',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    first_seen DateTime('UTC') COMMENT 'Start of the first window observed in the hour',
    last_seen DateTime('UTC') COMMENT 'End of the last window observed in the hour',
    hosts UInt32 COMMENT 'Hosts that reported',
    gpus UInt32 COMMENT 'GPUs (or MIG instances) that were observed',
    observed_ms UInt64 COMMENT 'Time observed: the capacity, milliseconds of a whole GPU',
    unallocated_ms UInt64 COMMENT 'Time neither held nor granted, milliseconds of a whole GPU',
    busy_ms UInt64 COMMENT 'SM-busy time by the devices themselves, milliseconds of a whole GPU',
    observed_gpu_ms_by_minute Array(UInt64) COMMENT '60 values, one a minute: observed_ms of it',
    mem_total_mib_ms UInt64 COMMENT 'GPU memory x observed time, MiB x milliseconds; by observed_ms the memory of a whole GPU; 0 if unknown'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    hour,
    cluster,
    host_pool,
    gpu_model,
    first_seen,
    last_seen,
    hosts,
    gpus,
    observed_ms,
    unallocated_ms,
    busy_ms,
    observed_gpu_ms_by_minute,
    mem_total_mib_ms
FROM capacity_hourly_versions FINAL
WHERE hour >= (SELECT hourly_from FROM kept_from)
    AND (hour, computed_at) IN (SELECT hour, argMax(computed_at, rolled_at) FROM rolled_hours GROUP BY hour)
COMMENT 'What the GPUs offered, by hour. Sums of milliseconds of whole GPUs, see docs/books.md.'
