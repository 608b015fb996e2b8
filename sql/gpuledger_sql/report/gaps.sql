-- title = "Telemetry that will never come"
-- keys = ["cluster", "host", "reason"]
SELECT
    cluster,
    host,
    reason,
    min(g.ts) AS first_missing,
    max(g.ts + g.gap_s) AS last_missing,
    intervalLengthSum(
        toUnixTimestamp(greatest(g.ts, {since:DateTime('UTC')})),
        toUnixTimestamp(least(g.ts + g.gap_s, {until:DateTime('UTC')}))
    ) / 3600 AS missing_hours,
    sum(g.rows) AS lost_rows
FROM telemetry_gaps AS g
WHERE g.ts < {until:DateTime('UTC')} AND g.ts + g.gap_s > {since:DateTime('UTC')}
GROUP BY cluster, host, reason
ORDER BY missing_hours DESC, cluster, host, reason
