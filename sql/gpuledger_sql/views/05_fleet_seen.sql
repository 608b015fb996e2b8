-- Which GPUs have ever been observed, where, and with how much memory?
CREATE OR REPLACE VIEW fleet_seen
(
    cluster LowCardinality(String) COMMENT 'Cluster of the hosts',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    observed_ms UInt64 COMMENT 'A weight: time observed, milliseconds of a whole GPU, some of it counted more than once',
    mem_total_mib_ms UInt64 COMMENT 'GPU memory x the same time, MiB x milliseconds; by observed_ms the memory of a whole GPU; 0 if unknown'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    cluster,
    host_pool,
    gpu_model,
    sum(c.observed_ms) AS observed_ms,
    sum(c.mem_total_mib_ms) AS mem_total_mib_ms
FROM
(
    SELECT cluster, host_pool, gpu_model, observed_ms, mem_total_mib_ms FROM capacity_hourly_versions
    UNION ALL
    SELECT cluster, host_pool, gpu_model, observed_ms, mem_total_mib_ms FROM capacity_daily_versions
) AS c
GROUP BY cluster, host_pool, gpu_model
COMMENT 'Every cluster, pool and GPU model there was, also those whose hours have gone.';
