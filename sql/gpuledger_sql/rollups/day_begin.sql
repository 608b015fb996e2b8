-- A version for {day}, later than any before it.
SELECT toString(greatest(now64(6, 'UTC'), max(computed_at) + INTERVAL 1 MICROSECOND))
FROM rolled_days
WHERE day = {day:Date}
