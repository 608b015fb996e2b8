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
WITH
    toDateTime(0, 'UTC') AS ever,
    toStartOfDay(now('UTC')) AS today,
    argMaxIf(r.days, r.applied_at, r.kind = 'raw') AS raw_days,
    argMaxIf(r.days, r.applied_at, r.kind = 'hourly') AS hourly_days
SELECT
    greatest(
        maxIf(r.whole_from, r.kind = 'raw'),
        if(raw_days = 0, ever, today - toIntervalDay(raw_days - 1))
    ) AS raw_from,
    greatest(
        maxIf(r.whole_from, r.kind = 'hourly'),
        if(hourly_days = 0, ever, today - toIntervalDay(hourly_days - 1))
    ) AS hourly_from
FROM retention AS r
COMMENT 'One row: what of the past is still there in full.'
