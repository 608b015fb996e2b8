-- title = "Room in each pool"
-- keys = ["pool", "gpu_model"]
SELECT
    pool,
    gpu_model,
    hour,
    capacity_gpus,
    requested_gpus,
    allocated_gpus,
    used_gpus,
    headroom_gpus,
    trend_gpus_per_day,
    trend_error_gpus_per_day,
    trend_days,
    days_to_full,
    days_to_full_earliest,
    days_to_full_latest
FROM pool_headroom
WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
ORDER BY hour DESC, pool, gpu_model
LIMIT 1 BY pool, gpu_model
