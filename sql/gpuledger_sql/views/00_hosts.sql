-- Which hosts report, with which agent and driver?
CREATE OR REPLACE VIEW hosts
(
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host String COMMENT 'Name of the host',
    host_pool LowCardinality(String) COMMENT 'Pool that its GPUs belong to',
    agent_version LowCardinality(String) COMMENT 'Version of the agent',
    boot_id String COMMENT 'Id of the present boot',
    driver_version LowCardinality(String) COMMENT 'Driver version, empty while no driver answers',
    labels Map(LowCardinality(String), String) COMMENT 'Further labels of the host, as configured',
    seen_at DateTime64(3, 'UTC') COMMENT 'When the host last introduced itself'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    cluster,
    host,
    host_pool,
    agent_version,
    boot_id,
    driver_version,
    labels,
    seen_at
FROM hosts_raw AS raw FINAL
COMMENT 'One row per host, as it last introduced itself.';
