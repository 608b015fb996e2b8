-- Hours to recompute: the newest first, so that the present stays fresh, then the oldest.
--
-- Rows and the mark of their hour become visible one after the other, so an hour is computed
-- once more when {settle_s} seconds have passed since the last mark. expired: the raw rows of
-- the hour are no longer kept, so that what it says now must not be replaced. An hour that is
-- no longer kept itself is left alone: its day stands. So are those of {put_off}, for now.
SELECT
    toString(t.hour) AS hour,
    r.rolled_at > toDateTime(0, 'UTC') AND t.hour < (SELECT raw_from FROM kept_from) AS expired
FROM
(
    SELECT hour, max(touched_at) AS touched_at
    FROM touched_hours
    WHERE hour >= (SELECT hourly_from FROM kept_from)
        AND hour NOT IN {put_off:Array(DateTime('UTC'))}
    GROUP BY hour
) AS t
LEFT JOIN
(
    SELECT hour, max(rolled_at) AS rolled_at FROM rolled_hours GROUP BY hour
) AS r ON r.hour = t.hour
WHERE
    t.touched_at >= r.rolled_at
    OR (r.rolled_at < t.touched_at + INTERVAL {settle_s:UInt32} SECOND
        AND now64(6) >= t.touched_at + INTERVAL {settle_s:UInt32} SECOND)
ORDER BY t.hour = max(t.hour) OVER () DESC, t.hour
LIMIT {limit:UInt32}
