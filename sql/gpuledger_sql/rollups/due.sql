-- Hours to recompute: the newest first, so that the present stays fresh, then the oldest.
--
-- Rows and the mark of their hour become visible one after the other, so an hour is computed
-- once more when {settle_s} seconds have passed since the last mark. expired: the raw rows of
-- the hour may have been dropped by their TTL, so that what it says now must not be replaced.
SELECT
    toString(t.hour) AS hour,
    r.rolled_at > toDateTime(0, 'UTC')
        AND p.expires > toDateTime(0, 'UTC')
        AND p.expires <= now() AS expired
FROM
(
    SELECT hour, max(touched_at) AS touched_at FROM touched_hours GROUP BY hour
) AS t
LEFT JOIN
(
    SELECT hour, max(rolled_at) AS rolled_at FROM rolled_hours GROUP BY hour
) AS r ON r.hour = t.hour
LEFT JOIN
(
    SELECT partition, max(delete_ttl_info_max) AS expires
    FROM system.parts
    WHERE database = currentDatabase() AND table = 'gpu_usage_raw' AND active
    GROUP BY partition
) AS p ON p.partition = toString(toDate(t.hour))
WHERE
    t.touched_at >= r.rolled_at
    OR (r.rolled_at < t.touched_at + INTERVAL {settle_s:UInt32} SECOND
        AND now64(6) >= t.touched_at + INTERVAL {settle_s:UInt32} SECOND)
ORDER BY t.hour = max(t.hour) OVER () DESC, t.hour
LIMIT {limit:UInt32}
