-- Versions that no longer count, by day. Those of the last minutes may be on their way to counting.
SELECT DISTINCT toString(v.day), toString(v.computed_at)
FROM {table:Identifier} AS v
LEFT JOIN
(
    SELECT day, max(computed_at) AS computed_at FROM rolled_days GROUP BY day
) AS r ON r.day = v.day
WHERE v.computed_at != r.computed_at AND v.computed_at < now64(6) - INTERVAL {keep_s:UInt32} SECOND
LIMIT {limit:UInt32}
