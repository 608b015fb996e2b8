-- description = "A workload sits on GPUs and has not worked on them for long."
-- remedy = "Stop the workload, or let it give back the GPUs that it does not use."
-- severity = "warning"
-- [thresholds]
-- min_idle_hours = { default = 8, unit = "hours", meaning = "Shortest time without SM work" }
SELECT
    concat(trim(LEADING '/' FROM concat(i.cluster, '/', i.host)), ' ', i.workload_kind, ' ', i.workload) AS subject,
    any(i.team) AS team,
    any(i.pool) AS pool,
    168 * sum(i.idle_usd / i.idle_hours) AS usd,
    map(
        'gpus', toString(count()),
        'gpu_model', any(i.gpu_model),
        'model', any(i.model),
        'endpoint', any(i.endpoint),
        'idle_since', toString(min(i.idle_since)),
        'idle_hours', toString(round(max(i.idle_hours), 1)),
        'idle_gpu_hours', toString(round(sum(i.idle_gpu_hours), 1)),
        'idle_usd', toString(round(sum(i.idle_usd), 2)),
        'ever_worked', if(max(i.ever_worked), 'yes', 'no'),
        'mem_mib_max', toString(max(i.mem_mib_max))
    ) AS evidence
FROM idle_allocations AS i
WHERE i.idle_hours >= {min_idle_hours:Float64}
GROUP BY i.cluster, i.host, i.workload_kind, i.workload
