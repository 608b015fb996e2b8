-- How do the agents themselves fare?
CREATE OR REPLACE VIEW agent_health
(
    ts DateTime('UTC') COMMENT 'Start of the window',
    window_s UInt16 COMMENT 'Length of the window, seconds',
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host that reported the row',
    ticks UInt32 COMMENT 'Readings of a GPU',
    ticks_missed UInt32 COMMENT 'Readings that were due and did not happen',
    tick_ms_max UInt32 COMMENT 'Longest reading, milliseconds',
    gpus UInt32 COMMENT 'GPUs that the driver knows',
    gpus_failed UInt32 COMMENT 'GPUs lost, hung or failing',
    processes UInt32 COMMENT 'Processes on the GPUs',
    processes_unattributed UInt32 COMMENT 'Processes without a team',
    spool_batches UInt32 COMMENT 'Batches on the disk of the host that wait for an ack',
    spool_bytes UInt64 COMMENT 'Bytes of these',
    rows_dropped UInt64 COMMENT 'Rows given up since the agent started',
    rows_refused UInt64 COMMENT 'Rows that a collector refused since the agent started',
    cpu_ms UInt32 COMMENT 'CPU time of the agent, milliseconds',
    rss_mib UInt32 COMMENT 'Resident memory of the agent, MiB',
    clock_step_ms UInt32 COMMENT 'How far the wall clock was stepped, milliseconds',
    agent_version LowCardinality(String) COMMENT 'Version of the agent'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    ts,
    window_s,
    cluster,
    host,
    ticks,
    ticks_missed,
    tick_ms_max,
    gpus,
    gpus_failed,
    processes,
    processes_unattributed,
    spool_batches,
    spool_bytes,
    rows_dropped,
    rows_refused,
    cpu_ms,
    rss_mib,
    clock_step_ms,
    agent_version
FROM agent_health_raw AS raw FINAL
COMMENT 'One row per window and agent.';
