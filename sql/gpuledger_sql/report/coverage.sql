-- title = "What telemetry saw"
-- keys = ["period", "pool", "gpu_model"]
SELECT
    if(hour >= {since:DateTime('UTC')}, 'this', 'previous') AS period,
    pool,
    gpu_model,
    uniqExactIf(hour, b.capacity_gpu_hours > 0) AS observed_hours,
    sum(b.capacity_gpu_hours) AS capacity_gpu_hours,
    sum(b.unallocated_gpu_hours) AS unallocated_gpu_hours,
    sum(b.unmeasured_gpu_hours) AS unmeasured_gpu_hours,
    sum(b.unobserved_gpu_hours) AS unobserved_gpu_hours,
    sumIf(abs(b.difference_gpu_hours), b.settled) AS difference_gpu_hours
FROM ledger_balance AS b
WHERE hour >= {before:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
GROUP BY period, pool, gpu_model
ORDER BY period DESC, pool, gpu_model
