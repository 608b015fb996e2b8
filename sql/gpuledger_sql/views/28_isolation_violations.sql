-- Where do pools share hardware that should be apart?
CREATE OR REPLACE VIEW isolation_violations
(
    hour DateTime('UTC') COMMENT 'Start of the hour',
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host',
    gpu LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance that the foreign work was on',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    shares LowCardinality(String) COMMENT 'gpu: with work of another pool on the same GPU in this hour. host: with work of another pool on the same host. nothing: alone on hardware of another pool',
    pools Array(LowCardinality(String)) COMMENT 'Pools of the foreign work',
    teams Array(LowCardinality(String)) COMMENT 'Teams of the foreign work',
    workloads Array(String) COMMENT 'The foreign work, 10 at most',
    foreign_gpu_hours Float64 COMMENT 'Allocated to work of pools other than host_pool, GPU-hours'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    hour,
    cluster,
    host,
    gpu,
    gpu_model,
    host_pool,
    shares,
    pools,
    teams,
    workloads,
    foreign_gpu_hours
FROM isolation_hourly_versions FINAL
WHERE hour >= (SELECT hourly_from FROM kept_from)
    AND (hour, computed_at) IN (SELECT hour, argMax(computed_at, rolled_at) FROM rolled_hours GROUP BY hour)
COMMENT 'Work of one pool on the hardware of another, by hour and GPU.'
