-- title = "The ledger of both periods: all of it, by team, by model and endpoint, and by step"
-- keys = ["level", "period", "from", "team", "model", "endpoint"]
-- One pass gives four levels. A step is part of a period, for charts: divide its GPU-hours by its
-- hours for GPUs at a time; the one that telemetry has not passed yet is left out.
WITH
    {until:DateTime('UTC')} - {since:DateTime('UTC')} AS length_s,
    hour - {before:DateTime('UTC')} AS second,
    {before:DateTime('UTC')} + second - second % length_s % {step_s:UInt32} AS step
SELECT
    multiIf(
        grouping(model) = 0, 'model',
        grouping(team) = 0, 'team',
        grouping(step) = 0, 'step',
        'all'
    ) AS level,
    if(hour >= {since:DateTime('UTC')}, 'this', 'previous') AS period,
    if(grouping(step) = 0, step, NULL) AS from,
    team,
    model,
    endpoint,
    uniqExact(hour) AS hours,
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
GROUP BY GROUPING SETS ((period), (period, step), (period, team), (period, team, model, endpoint))
HAVING level != 'step'
    OR max(hour) + INTERVAL 1 HOUR <= (SELECT max(last_seen) FROM capacity_hourly)
ORDER BY level, period DESC, from, waste_gpu_hours DESC, team, model, endpoint
