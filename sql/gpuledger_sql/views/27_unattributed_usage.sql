-- Who runs without an owner?
CREATE OR REPLACE VIEW unattributed_usage
(
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host',
    process_name LowCardinality(String) COMMENT 'Command name; empty: granted and not running, or work that no listed process explains',
    user LowCardinality(String) COMMENT 'User that the process runs as',
    pool LowCardinality(String) COMMENT 'Pool that the work belongs to',
    gpus UInt64 COMMENT 'GPUs or MIG instances that it was seen on',
    workloads UInt64 COMMENT 'Workloads',
    example_workload String COMMENT 'One of them',
    first_seen DateTime('UTC') COMMENT 'First seen in the last 7 days',
    last_seen DateTime('UTC') COMMENT 'Last seen',
    allocated_gpu_hours Float64 COMMENT 'Held, or granted without a process, in the last 7 days, GPU-hours',
    busy_gpu_hours Float64 COMMENT 'SMs busy in the last 7 days, GPU-hours',
    mem_mib_max UInt32 COMMENT 'Most memory of one process, MiB'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    w.cluster AS cluster,
    w.host AS host,
    w.process_name AS process_name,
    w.user AS user,
    w.pool AS pool,
    uniqExact(w.gpu) AS gpus,
    uniqExact(w.workload_kind, w.workload) AS workloads,
    argMax(w.workload, w.last_seen) AS example_workload,
    min(w.first_seen) AS first_seen,
    max(w.last_seen) AS last_seen,
    sum(w.held_ms + w.unheld_ms) / 3600000 AS allocated_gpu_hours,
    sum(w.busy_ms) / 3600000 AS busy_gpu_hours,
    max(w.mem_mib_max) AS mem_mib_max
FROM workload_hourly AS w
WHERE w.team = '' AND w.hour >= (SELECT max(hour) FROM rolled_hours) - INTERVAL 7 DAY
GROUP BY cluster, host, process_name, user, pool
COMMENT 'GPU work that no team stands for, in the last 7 days.'
