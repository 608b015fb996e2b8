-- Where pools share hardware in these versions of hours, from their workloads.
--
-- Few rows of millions: readers should not have to look for them.
INSERT INTO isolation_hourly_versions
WITH
    work AS
    (
        SELECT
            hour, computed_at, cluster, host, host_pool, gpu, gpu_model, pool, team, workload,
            held_ms + unheld_ms AS allocated_ms,
            pool != host_pool AS is_foreign,
            uniqExact(pool) OVER (PARTITION BY hour, cluster, host) AS pools_of_host
        FROM workload_hourly_versions FINAL
        WHERE (hour, computed_at) IN {versions:Array(Tuple(DateTime('UTC'), DateTime64(6, 'UTC')))}
            AND (hour, cluster, host) IN
            (
                SELECT hour, cluster, host
                FROM workload_hourly_versions
                WHERE pool != host_pool AND (hour, computed_at) IN {versions:Array(Tuple(DateTime('UTC'), DateTime64(6, 'UTC')))}
            )
    )
SELECT
    w.hour AS hour,
    w.computed_at AS computed_at,
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
GROUP BY hour, computed_at, cluster, host, gpu, gpu_model, host_pool
HAVING countIf(w.is_foreign) > 0
