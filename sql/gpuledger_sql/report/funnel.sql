-- title = "The funnel: requested, allocated, held, active, busy"
-- keys = ["period"]
SELECT
    if(hour >= {since:DateTime('UTC')}, 'this', 'previous') AS period,
    sum(l.requested_gpu_hours) AS requested_gpu_hours,
    sum(l.allocated_gpu_hours) AS allocated_gpu_hours,
    sum(l.held_gpu_hours) AS held_gpu_hours,
    sum(l.active_gpu_hours) AS active_gpu_hours,
    sum(l.busy_gpu_hours) AS busy_gpu_hours,
    sum(l.unmeasured_gpu_hours) AS unmeasured_gpu_hours,
    sum(l.unclaimed_gpu_hours) AS unclaimed_gpu_hours,
    sum(l.idle_gpu_hours) AS idle_gpu_hours,
    sum(l.underused_gpu_hours) AS underused_gpu_hours,
    sum(l.waste_gpu_hours) AS waste_gpu_hours,
    sum(l.unclaimed_usd) AS unclaimed_usd,
    sum(l.idle_usd) AS idle_usd,
    sum(l.underused_usd) AS underused_usd,
    sum(l.waste_usd) AS waste_usd,
    sum(l.unpriced_waste_gpu_hours) AS unpriced_waste_gpu_hours
FROM ledger_hourly AS l
WHERE hour >= {before:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
    AND {team:String} IN ('', team)
GROUP BY period
ORDER BY period DESC
