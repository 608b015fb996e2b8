-- Which telemetry will never come, and why?
--
-- Gaps of a host may overlap: what was lost in two ways, or in two parts. Rows add up, and time by
-- intervalLengthSum.
CREATE OR REPLACE VIEW telemetry_gaps
(
    ts DateTime('UTC') COMMENT 'From when on windows are missing',
    gap_s UInt32 COMMENT 'For how long, seconds; it ends within the same day',
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host whose windows are missing',
    rows UInt64 COMMENT 'Rows lost, of all tables; 0: nobody knows, or none were made',
    reason String COMMENT 'spool_full, spool_age, disk, corrupt, refused or stopped'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    ts,
    gap_s,
    cluster,
    host,
    rows,
    toString(raw.reason) AS reason
FROM telemetry_gaps_raw AS raw FINAL
COMMENT 'One row for each loss of windows that an agent told of; they may overlap.'
