-- Who sits on GPUs without working, since when, and what has that cost?
--
-- Now: the last five minutes of the fleet's telemetry. Time of which nobody knows whether the SMs were busy counts as work.
CREATE OR REPLACE VIEW idle_allocations
(
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host',
    gpu LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    workload_kind LowCardinality(String) COMMENT 'process, container, pod, slurm_job or unit',
    workload String COMMENT 'Name of the workload, unique on its host',
    team LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    model LowCardinality(String) COMMENT 'Model; empty: not said',
    endpoint LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    pool LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    allocated_since DateTime('UTC') COMMENT 'First seen on this GPU, in the last 30 days',
    idle_since DateTime('UTC') COMMENT 'End of its last work, or allocated_since if it never worked',
    idle_hours Float64 COMMENT 'Hours since then',
    idle_gpu_hours Float64 COMMENT 'Its idle time since then; less than idle_hours where it shares the GPU, GPU-hours',
    idle_usd Nullable(Float64) COMMENT 'Price of idle_gpu_hours, USD; NULL: no price known',
    ever_worked Bool COMMENT 'Whether it had SM time on this GPU in the last 30 days',
    mem_mib_max UInt32 COMMENT 'Most memory of one of its processes, MiB'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    (SELECT prices FROM gpu_price_list) AS prices,
    (SELECT max(c.last_seen) FROM capacity_hourly AS c) AS newest,
    idle_now AS
    (
        SELECT DISTINCT gpu
        FROM workload_hourly AS w
        WHERE w.hour >= toStartOfHour(newest - INTERVAL 1 HOUR) AND w.last_worked < w.last_seen
    ),
    workloads AS
    (
        SELECT
            cluster, host, gpu, gpu_model, workload_kind, workload, team, model, endpoint, pool,
            any(w.host_pool) AS host_pool,
            min(w.first_seen) AS first_seen,
            max(w.last_seen) AS last_seen,
            max(w.last_worked) AS last_worked,
            max(w.mem_mib_max) AS mem_max,
            groupArray((w.hour, w.idle_after_work_ms, w.last_seen)) AS hours
        FROM workload_hourly AS w
        WHERE w.hour >= newest - INTERVAL 30 DAY
            AND w.gpu IN (SELECT gpu FROM idle_now)
        GROUP BY cluster, host, gpu, gpu_model, workload_kind, workload, team, model, endpoint, pool
    )
SELECT
    w.cluster AS cluster,
    w.host AS host,
    w.gpu AS gpu,
    w.gpu_model AS gpu_model,
    w.workload_kind AS workload_kind,
    w.workload AS workload,
    if(w.team = '', 'unattributed', w.team) AS team,
    w.model AS model,
    w.endpoint AS endpoint,
    w.pool AS pool,
    w.first_seen AS allocated_since,
    greatest(w.first_seen, w.last_worked) AS idle_since,
    dateDiff('second', idle_since, w.last_seen) / 3600 AS idle_hours,
    arraySum(arrayMap(h -> if(h.3 > idle_since, h.2, 0), w.hours)) / 3600000 AS idle_gpu_hours,
    idle_gpu_hours * arrayFirst(
        price -> price.priced_from <= newest
            AND price.pool IN ('', w.host_pool)
            AND (price.gpu_model = '' OR position(lowerUTF8(w.gpu_model), price.gpu_model) > 0),
        prices
    ).usd_per_gpu_hour AS idle_usd,
    w.last_worked >= w.first_seen AS ever_worked,
    w.mem_max AS mem_mib_max
FROM workloads AS w
WHERE w.last_seen >= newest - INTERVAL 5 MINUTE AND w.last_seen > idle_since
COMMENT 'Workloads that hold or were granted GPUs now and do not work on them.'
