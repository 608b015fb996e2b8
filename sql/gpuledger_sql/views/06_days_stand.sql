-- Which days need not be computed from their hours again?
--
-- Those that were computed after everything that they depend on. The roll-up of an hour has ended
-- an hour after it began. A capacity request reaches back to its beginning when it is new, else to
-- the moment at which it was applied; a price and an objective to their beginning.
CREATE OR REPLACE VIEW days_stand
(
    day Date COMMENT 'Day that has hours',
    rolled_at DateTime64(6, 'UTC') COMMENT 'When the latest roll-up of one of its hours began',
    computed_at DateTime64(6, 'UTC') COMMENT 'When the day was computed; 1970-01-01: never',
    stands UInt8 COMMENT '1: no hour of it has changed since',
    ledger_stands UInt8 COMMENT '1: nor does a request or price that was applied since reach back to it',
    slos_stand UInt8 COMMENT '1: it stands, and no objective that was applied since reaches back to it'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Which days say what their hours say, and were computed when.'
AS
WITH
    declared AS
    (
        SELECT
            if(
                row_number() OVER (PARTITION BY id ORDER BY applied_at) = 1,
                r.requested_from, toDateTime(r.applied_at, 'UTC')
            ) AS reaches_to,
            applied_at
        FROM capacity_requests AS r
        UNION ALL
        SELECT priced_from, applied_at FROM gpu_prices
    ),
    (SELECT groupArray((toDate(reaches_to), applied_at)) FROM declared) AS declarations,
    (SELECT groupArray((toDate(valid_from), applied_at)) FROM slos) AS promises
SELECT
    h.day AS day,
    h.latest AS rolled_at,
    d.computed_at AS computed_at,
    h.latest + INTERVAL 1 HOUR < d.computed_at AS stands,
    stands AND NOT arrayExists(
        declaration -> declaration.1 <= h.day AND declaration.2 >= d.computed_at, declarations
    ) AS ledger_stands,
    stands AND NOT arrayExists(
        promise -> promise.1 <= h.day AND promise.2 >= d.computed_at, promises
    ) AS slos_stand
FROM
(
    SELECT toDate(hour) AS day, max(r.rolled_at) AS latest
    FROM rolled_hours AS r
    WHERE hour >= (SELECT hourly_from FROM kept_from)
    GROUP BY day
) AS h
LEFT JOIN
(
    SELECT day, max(r.computed_at) AS computed_at FROM rolled_days AS r GROUP BY day
) AS d ON d.day = h.day
