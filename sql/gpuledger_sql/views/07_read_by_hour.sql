-- From which day on do views by day read hours?
--
-- All days before it are read as they were computed: they stand, or their hours are no longer kept.
CREATE OR REPLACE VIEW read_by_hour
(
    hours_from Date COMMENT 'First day that is read by the hour; 2106-01-01: none',
    ledger_from Date COMMENT 'The same for what depends on capacity requests and prices',
    slos_from Date COMMENT 'The same for what depends on objectives'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Where views by day change from computed days to hours.'
AS
WITH
    toDate('2106-01-01') AS never,
    (SELECT toDate(hourly_from) FROM kept_from) AS hourly_from
SELECT
    greatest(hourly_from, min(if(d.stands, never, d.day))) AS hours_from,
    greatest(hourly_from, min(if(d.ledger_stands, never, d.day))) AS ledger_from,
    greatest(hourly_from, min(if(d.slos_stand, never, d.day))) AS slos_from
FROM days_stand AS d
