-- title = "Waste by model and endpoint"
-- keys = ["team", "model", "endpoint"]
SELECT
    team,
    model,
    endpoint,
    sum(l.unclaimed_gpu_hours) AS unclaimed_gpu_hours,
    sum(l.idle_gpu_hours) AS idle_gpu_hours,
    sum(l.underused_gpu_hours) AS underused_gpu_hours,
    sum(l.waste_gpu_hours) AS waste_gpu_hours,
    sum(l.waste_usd) AS waste_usd,
    sum(l.unpriced_waste_gpu_hours) AS unpriced_waste_gpu_hours
FROM ledger_hourly AS l
WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
    AND {team:String} IN ('', team)
GROUP BY team, model, endpoint
ORDER BY waste_gpu_hours DESC, team, model, endpoint
