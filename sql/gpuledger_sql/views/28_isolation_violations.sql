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
WITH
    foreign AS
    (
        SELECT hour, cluster, host
        FROM workload_hourly AS w
        WHERE w.pool != w.host_pool
        -- DISTINCT over a prefix of the sorting key would read in its order: six times slower.
        GROUP BY hour, cluster, host
    ),
    work AS
    (
        SELECT
            hour, cluster, host, host_pool, gpu, gpu_model, pool, team, workload,
            held_ms + unheld_ms AS allocated_ms,
            pool != host_pool AS is_foreign,
            uniqExact(pool) OVER (PARTITION BY hour, cluster, host) AS pools_of_host
        FROM workload_hourly
        WHERE (hour, cluster, host) IN (SELECT hour, cluster, host FROM foreign)
    )
SELECT
    w.hour AS hour,
    w.cluster AS cluster,
    w.host AS host,
    w.gpu AS gpu,
    w.gpu_model AS gpu_model,
    w.host_pool AS host_pool,
    multiIf(uniqExact(w.pool) > 1, 'gpu', any(w.pools_of_host) > 1, 'host', 'nothing') AS shares,
    arraySort(groupUniqArrayIf(w.pool, w.is_foreign)) AS pools,
    arraySort(groupUniqArrayIf(if(w.team = '', 'unattributed', w.team), w.is_foreign)) AS teams,
    arraySort(groupUniqArrayIf(10)(w.workload, w.is_foreign)) AS workloads,
    sumIf(w.allocated_ms, w.is_foreign) / 3600000 AS foreign_gpu_hours
FROM work AS w
GROUP BY hour, cluster, host, gpu, gpu_model, host_pool
HAVING countIf(w.is_foreign) > 0
COMMENT 'Work of one pool on the hardware of another, by hour and GPU.'
