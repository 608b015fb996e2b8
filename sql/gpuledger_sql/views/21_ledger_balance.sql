-- Do the books balance?
--
-- Capacity and unallocated time come from gpu_usage, the rest from process_usage and
-- gpu_allocation: a row lost on the way shows as a difference. What agents know to be lost (telemetry_gaps)
-- is neither idle nor free, but unobserved.
CREATE OR REPLACE VIEW ledger_balance
(
    hour DateTime('UTC') COMMENT 'Start of the hour',
    cluster LowCardinality(String) COMMENT 'Cluster of the hosts',
    pool LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    capacity_gpu_hours Float64 COMMENT 'Observed by telemetry, GPU-hours',
    unallocated_gpu_hours Float64 COMMENT 'Neither held nor granted, GPU-hours',
    idle_gpu_hours Float64 COMMENT 'Allocated in windows without SM time, GPU-hours',
    underused_gpu_hours Float64 COMMENT 'Active and not busy, GPU-hours',
    busy_gpu_hours Float64 COMMENT 'SMs busy, GPU-hours',
    unmeasured_gpu_hours Float64 COMMENT 'Held, and nobody can say whether the SMs were busy, GPU-hours',
    difference_gpu_hours Float64 COMMENT 'Capacity less all the others: 0, or rows are missing or still on their way, GPU-hours',
    unobserved_gpu_hours Float64 COMMENT 'Not part of the capacity: GPUs of hosts that were there and whose agents did not measure or lost what they had, GPU-hours',
    settled Bool COMMENT 'Whether no rows of the hour came in the minute before it was last computed: then a difference is no row on its way'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    settled_hours AS
    (
        SELECT hour
        FROM (SELECT hour, max(touched_at) AS touched_at FROM touched_hours GROUP BY hour) AS t
        INNER JOIN (SELECT hour, max(rolled_at) AS rolled_at FROM rolled_hours GROUP BY hour) AS r
            ON r.hour = t.hour
        WHERE r.rolled_at >= t.touched_at + INTERVAL 1 MINUTE
    ),
    gap_hours AS
    (
        SELECT
            cluster,
            host,
            arrayJoin(arrayMap(
                n -> toStartOfHour(gap.ts) + 3600 * n,
                range(dateDiff('hour', toStartOfHour(gap.ts), gap.ts + gap.gap_s) + 1)
            )) AS hour,
            min(gap.ts) AS since,
            intervalLengthSum(
                toUnixTimestamp(greatest(gap.ts, hour)),
                toUnixTimestamp(least(gap.ts + gap.gap_s, hour + 3600))
            ) AS seconds
        FROM telemetry_gaps AS gap
        WHERE gap.ts >= (SELECT hourly_from FROM kept_from)
        GROUP BY cluster, host, hour
    ),
    sides AS
    (
        SELECT
            hour, cluster, host_pool, gpu_model,
            toInt64(observed_ms) AS capacity,
            toInt64(unallocated_ms) AS unallocated,
            toInt64(0) AS idle,
            toInt64(0) AS underused,
            toInt64(0) AS busy,
            toInt64(0) AS unmeasured,
            toInt64(0) AS unobserved
        FROM capacity_hourly
        UNION ALL
        SELECT
            hour, cluster, host_pool, gpu_model,
            0,
            0,
            toInt64(held_ms + unheld_ms) - toInt64(active_ms) - toInt64(unmeasured_ms),
            toInt64(active_ms) - toInt64(busy_ms),
            toInt64(busy_ms),
            toInt64(unmeasured_ms),
            0
        FROM usage_hourly
        UNION ALL
        SELECT
            missing.hour, missing.cluster, hosts.host_pool, gpus.gpu_model,
            0, 0, 0, 0, 0, 0,
            toInt64(missing.seconds) * gpus.share_milli
        FROM gap_hours AS missing
        INNER JOIN gpus ON gpus.cluster = missing.cluster AND gpus.host = missing.host
        INNER JOIN hosts ON hosts.cluster = missing.cluster AND hosts.host = missing.host
        WHERE gpus.seen_at >= missing.since
    )
SELECT
    s.hour AS hour,
    s.cluster AS cluster,
    s.host_pool AS pool,
    s.gpu_model AS gpu_model,
    sum(s.capacity) / 3600000 AS capacity_gpu_hours,
    sum(s.unallocated) / 3600000 AS unallocated_gpu_hours,
    sum(s.idle) / 3600000 AS idle_gpu_hours,
    sum(s.underused) / 3600000 AS underused_gpu_hours,
    sum(s.busy) / 3600000 AS busy_gpu_hours,
    sum(s.unmeasured) / 3600000 AS unmeasured_gpu_hours,
    sum(s.capacity - s.unallocated - s.idle - s.underused - s.busy - s.unmeasured) / 3600000
        AS difference_gpu_hours,
    sum(s.unobserved) / 3600000 AS unobserved_gpu_hours,
    hour IN (SELECT hour FROM settled_hours) AS settled
FROM sides AS s
GROUP BY hour, cluster, pool, gpu_model
COMMENT 'Capacity against the sum of the books, by hour, pool of the GPUs and GPU model.'
