-- What did the GPUs offer, day by day?
CREATE OR REPLACE VIEW capacity_daily
(
    day Date COMMENT 'Day, UTC',
    cluster LowCardinality(String) COMMENT 'Cluster of the hosts',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    hosts_max UInt32 COMMENT 'Hosts that reported in an hour, at most',
    gpus_max UInt32 COMMENT 'GPUs (or MIG instances) that were observed in an hour, at most',
    observed_ms UInt64 COMMENT 'Time observed: the capacity, milliseconds of a whole GPU',
    unallocated_ms UInt64 COMMENT 'Time neither held nor granted, milliseconds of a whole GPU',
    busy_ms UInt64 COMMENT 'SM-busy time by the devices themselves, milliseconds of a whole GPU',
    mem_total_mib_ms UInt64 COMMENT 'GPU memory x observed time, MiB x milliseconds; by observed_ms the memory of a whole GPU; 0 if unknown'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    toDate(c.hour) AS day,
    cluster,
    host_pool,
    gpu_model,
    max(c.hosts) AS hosts_max,
    max(c.gpus) AS gpus_max,
    sum(c.observed_ms) AS observed_ms,
    sum(c.unallocated_ms) AS unallocated_ms,
    sum(c.busy_ms) AS busy_ms,
    sum(c.mem_total_mib_ms) AS mem_total_mib_ms
FROM capacity_hourly AS c
WHERE c.hour >= toDateTime((SELECT hours_from FROM read_by_hour), 'UTC')
GROUP BY day, cluster, host_pool, gpu_model
UNION ALL
SELECT
    day,
    cluster,
    host_pool,
    gpu_model,
    hosts_max,
    gpus_max,
    observed_ms,
    unallocated_ms,
    busy_ms,
    mem_total_mib_ms
FROM capacity_daily_versions FINAL
WHERE day < (SELECT hours_from FROM read_by_hour)
    AND (day, computed_at) IN (SELECT day, max(computed_at) FROM rolled_days GROUP BY day)
COMMENT 'What the GPUs offered, by day. Sums of milliseconds of whole GPUs, see docs/books.md.'
