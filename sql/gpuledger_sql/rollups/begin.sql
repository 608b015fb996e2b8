-- A version for {hour}, later than any before it, and the version that counts now.
SELECT
    toString(greatest(now64(6, 'UTC'), max(rolled_at) + INTERVAL 1 MICROSECOND)),
    toString(argMax(computed_at, rolled_at))
FROM rolled_hours
WHERE hour = {hour:DateTime('UTC')}
