-- Days to compute, the oldest first: days that are over and still have their hours, all of which
-- have been left alone for {rest_s} seconds, and that do not stand (see views/06_days_stand.sql).
--
-- rolled_at says when the roll-up of an hour began, and it may have ended after a day was computed:
-- hence {rest_s} once more. In the last week in which it has hours a day is computed once
-- more. Those of {put_off} are left alone for now.
WITH
    (SELECT toDate(hourly_from) FROM kept_from) AS hourly_from
SELECT toString(d.day)
FROM days_stand AS d
WHERE d.day < toDate(now('UTC'))
    AND d.day NOT IN {put_off:Array(Date)}
    AND d.rolled_at < now64(6) - INTERVAL {rest_s:UInt32} SECOND
    AND (
        d.rolled_at + INTERVAL {rest_s:UInt32} SECOND >= d.computed_at
        OR (d.stands AND NOT (d.ledger_stands AND d.slos_stand))
        OR (d.day < hourly_from + 7 AND d.computed_at
            < toDateTime64(toDate(now('UTC')) + (d.day - hourly_from) - 6, 6, 'UTC'))
    )
ORDER BY d.day
LIMIT {limit:UInt32}
