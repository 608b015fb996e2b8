-- Days to compute, the oldest first: days that are over and still have their hours, all of which
-- have been left alone for {rest_s} seconds.
--
-- rolled_at says when the roll-up of an hour began, and it may have ended after a day was computed:
-- hence {rest_s} once more. In the last week in which it has hours a day is computed once
-- more, and again after every new request, price or objective: those reach back, and views of hours
-- show it.
WITH
    (SELECT toDate(hourly_from) FROM kept_from) AS hourly_from,
    (SELECT max(applied_at) FROM capacity_requests) AS requested_at,
    (SELECT max(applied_at) FROM gpu_prices) AS priced_at,
    (SELECT max(applied_at) FROM slos) AS promised_at
SELECT toString(h.day)
FROM
(
    SELECT toDate(hour) AS day, max(rolled_at) AS rolled_at
    FROM rolled_hours
    WHERE toDate(hour) >= hourly_from AND toDate(hour) < toDate(now('UTC'))
    GROUP BY day
) AS h
LEFT JOIN
(
    SELECT day, max(computed_at) AS computed_at FROM rolled_days GROUP BY day
) AS d ON d.day = h.day
WHERE h.rolled_at < now64(6) - INTERVAL {rest_s:UInt32} SECOND
    AND (
        h.rolled_at + INTERVAL {rest_s:UInt32} SECOND >= d.computed_at
        OR (h.day < hourly_from + 7 AND d.computed_at < greatest(
            requested_at, priced_at, promised_at,
            toDateTime64(toDate(now('UTC')) + (h.day - hourly_from) - 6, 6, 'UTC')
        ))
    )
ORDER BY h.day
LIMIT {limit:UInt32}
