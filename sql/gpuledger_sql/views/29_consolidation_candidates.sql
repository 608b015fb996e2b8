-- Which small models could share GPUs?
--
-- Models that need at most half a GPU each, by measured p99 memory and p95 SM use of the last
-- 7 days and the present one. They are laid on GPUs one after the other, the largest memory
-- first, and a new GPU is begun where the next would exceed 90 % of memory or SM time. A plan to
-- look at, not an order: it knows nothing of latency.
CREATE OR REPLACE VIEW consolidation_candidates
(
    pool LowCardinality(String) COMMENT 'Pool that the workloads belong to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    team LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    model LowCardinality(String) COMMENT 'Model; empty: not said',
    gpus_now Float64 COMMENT 'GPUs allocated at a time, 95th percentile of minutes, rounded up, whole GPUs',
    mem_mib_p99 Float64 COMMENT 'Memory on one GPU, 99th percentile of windows, MiB',
    sm_pct_p95 Float64 COMMENT 'SM use of one GPU, 95th percentile of windows, percent',
    fits_on UInt32 COMMENT 'Number of the shared GPU, from 1, on which its first replica would go',
    pool_gpus_now Float64 COMMENT 'GPUs that all candidates of the pool and GPU model take now, whole GPUs',
    pool_gpus_needed UInt32 COMMENT 'GPUs that they need together, whole GPUs',
    saved_gpus Float64 COMMENT 'pool_gpus_now - pool_gpus_needed, at least 0, whole GPUs'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    needs AS
    (
        SELECT
            pool, gpu_model, team, model,
            quantileExactWeightedArray(0.99)(
                mapKeys(u.mem_mib_histogram), mapValues(u.mem_mib_histogram)
            ) + 16 AS mem,
            quantileExactWeightedArray(0.95)(
                mapKeys(u.sm_pct_histogram), mapValues(u.sm_pct_histogram)
            ) AS sm
        FROM usage_daily AS u
        WHERE u.day >= toDate((SELECT max(hour) FROM rolled_hours)) - 7
        GROUP BY pool, gpu_model, team, model
        HAVING sum(u.mem_known_ms) > 0 AND max(notEmpty(u.sm_pct_histogram))
    ),
    allocated AS
    (
        SELECT
            pool, gpu_model, team, model,
            ceil(quantileExactArray(0.95)(
                arrayFilter(ms -> ms > 0, h.by_minute)
            ) / 60000) AS gpus
        FROM
        (
            SELECT
                hour, pool, gpu_model, team, model,
                sumForEach(u.allocated_gpu_ms_by_minute) AS by_minute
            FROM usage_hourly AS u
            WHERE u.hour >= (SELECT max(hour) FROM rolled_hours) - INTERVAL 7 DAY
            GROUP BY hour, pool, gpu_model, team, model
        ) AS h
        GROUP BY pool, gpu_model, team, model
    ),
    memory AS
    (
        SELECT gpu_model, sum(c.mem_total_mib_ms) / sum(c.observed_ms) AS mib
        FROM fleet_seen AS c
        GROUP BY gpu_model
    ),
    candidates AS
    (
        SELECT
            n.pool AS pool, n.gpu_model AS gpu_model, n.team AS team, n.model AS model,
            n.mem AS mem, n.sm AS sm, a.gpus AS gpus, n.mem / m.mib AS mem_share, n.sm / 100 AS sm_share
        FROM needs AS n
        INNER JOIN allocated AS a
            ON a.pool = n.pool AND a.gpu_model = n.gpu_model AND a.team = n.team AND a.model = n.model
        INNER JOIN memory AS m ON m.gpu_model = n.gpu_model
        WHERE mem_share <= 0.5 AND sm_share <= 0.5
    ),
    plans AS
    (
        SELECT
            pool,
            gpu_model,
            sum(c.gpus) AS gpus_now,
            groupArray((c.team, c.model, c.gpus, c.mem, c.sm)) AS models,
            arrayReverseSort(groupArrayArray(
                arrayWithConstant(toUInt32(c.gpus), (c.mem_share, c.sm_share, c.team, c.model))
            )) AS replicas,
            -- (GPU, memory and SM time taken on it, GPU of every replica so far)
            arrayFold(
                (plan, replica) -> if(
                    plan.2 + replica.1 <= 0.9 AND plan.3 + replica.2 <= 0.9,
                    (plan.1, plan.2 + replica.1, plan.3 + replica.2, arrayPushBack(plan.4, plan.1)),
                    (
                        toUInt32(plan.1 + 1), replica.1, replica.2,
                        arrayPushBack(plan.4, toUInt32(plan.1 + 1))
                    )
                ),
                replicas,
                (toUInt32(1), toFloat64(0), toFloat64(0), emptyArrayUInt32())
            ) AS plan
        FROM candidates AS c
        GROUP BY pool, gpu_model
    )
SELECT
    p.pool AS pool,
    p.gpu_model AS gpu_model,
    if(m.1 = '', 'unattributed', m.1) AS team,
    m.2 AS model,
    m.3 AS gpus_now,
    m.4 AS mem_mib_p99,
    m.5 AS sm_pct_p95,
    p.plan.4[indexOf(arrayMap(r -> (r.3, r.4), p.replicas), (m.1, m.2))] AS fits_on,
    p.gpus_now AS pool_gpus_now,
    p.plan.1 AS pool_gpus_needed,
    greatest(pool_gpus_now - pool_gpus_needed, 0) AS saved_gpus
FROM plans AS p
ARRAY JOIN p.models AS m
WHERE pool_gpus_now > 1
COMMENT 'Small models of a pool that would fit together on fewer GPUs, with a packing.'
