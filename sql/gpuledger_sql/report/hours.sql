-- title = "Hours with telemetry of any GPU"
-- keys = ["period"]
SELECT
    if(hour >= {since:DateTime('UTC')}, 'this', 'previous') AS period,
    uniqExact(hour) AS observed_hours
FROM capacity_hourly
WHERE hour >= {before:DateTime('UTC')} AND hour < {until:DateTime('UTC')} AND observed_ms > 0
GROUP BY period
ORDER BY period DESC
