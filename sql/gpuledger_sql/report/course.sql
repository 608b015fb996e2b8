-- title = "GPUs requested, allocated, active and busy at a time"
-- keys = ["from"]
-- Means over steps of the period. The present hour is left out: it is not whole yet.
SELECT
    {since:DateTime('UTC')} + {step_s:UInt32} * intDiv(hour - {since:DateTime('UTC')}, {step_s:UInt32}) AS from,
    uniqExact(hour) AS hours,
    sum(l.requested_gpu_hours) / hours AS requested_gpus,
    sum(l.allocated_gpu_hours) / hours AS allocated_gpus,
    sum(l.active_gpu_hours) / hours AS active_gpus,
    sum(l.busy_gpu_hours) / hours AS busy_gpus
FROM ledger_hourly AS l
WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
    AND hour < (SELECT toStartOfHour(max(last_seen)) FROM capacity_hourly)
    AND {team:String} IN ('', team)
GROUP BY from
ORDER BY from
