-- Versions that no longer count, by hour. Those of the last minutes may be on their way to counting;
-- hours that are no longer kept are left to the TTL.
SELECT DISTINCT toString(v.hour), toString(v.computed_at)
FROM {table:Identifier} AS v
LEFT JOIN
(
    SELECT hour, argMax(computed_at, rolled_at) AS computed_at FROM rolled_hours GROUP BY hour
) AS r ON r.hour = v.hour
WHERE v.hour >= (SELECT hourly_from FROM kept_from)
    AND v.computed_at != r.computed_at
    AND v.computed_at < now64(6) - INTERVAL {keep_s:UInt32} SECOND
LIMIT {limit:UInt32}
