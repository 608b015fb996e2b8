-- Days that still have hours, and would not if only {days} days of them were kept.
SELECT DISTINCT toString(toDate(hour)) AS day
FROM rolled_hours
WHERE hour >= (SELECT hourly_from FROM kept_from)
    AND toDate(hour) <= toDate(now('UTC')) - {days:UInt32}
ORDER BY day
