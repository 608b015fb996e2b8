-- From when on are windows and hours there whole?
--
-- A longer retention brings nothing back: what an earlier one let go stays gone.
CREATE OR REPLACE VIEW kept_from
(
    raw_from DateTime('UTC') COMMENT 'Start of the first day of which all windows are kept; 1970-01-01: since ever',
    hourly_from DateTime('UTC') COMMENT 'Start of the first day that is kept by the hour, older ones only by the day; 1970-01-01: since ever'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    maxIf(k.whole_from, k.kind = 'raw') AS raw_from,
    maxIf(k.whole_from, k.kind = 'hourly') AS hourly_from
FROM
(
    SELECT
        kind,
        argMax(r.days, r.applied_at) AS days,
        greatest(
            max(r.whole_from),
            if(days = 0, toDateTime(0, 'UTC'), toStartOfDay(now('UTC')) - toIntervalDay(days - 1))
        ) AS whole_from
    FROM retention AS r
    GROUP BY kind
) AS k
COMMENT 'One row: what of the past is still there in full.'
