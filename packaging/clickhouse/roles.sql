-- What gpuledger's users may do on a ClickHouse server: run it as a user with ACCESS MANAGEMENT, before the
-- first `gpuledger migrate` and again with every new release. It holds no secrets; users.sql makes the users.

CREATE ROLE IF NOT EXISTS gpuledger_admin;
GRANT SELECT, INSERT, ALTER, TRUNCATE, OPTIMIZE, SHOW ON gpuledger.* TO gpuledger_admin;
GRANT CREATE DATABASE, CREATE TABLE, CREATE VIEW ON gpuledger.* TO gpuledger_admin;
GRANT DROP TABLE, DROP VIEW ON gpuledger.* TO gpuledger_admin;
GRANT SYSTEM MERGES, SYSTEM TTL MERGES ON gpuledger.* TO gpuledger_admin;
GRANT TABLE ENGINE ON MergeTree TO gpuledger_admin;
GRANT TABLE ENGINE ON ReplacingMergeTree TO gpuledger_admin;
GRANT TABLE ENGINE ON SummingMergeTree TO gpuledger_admin;
GRANT SELECT ON system.disks TO gpuledger_admin;
GRANT SELECT ON system.parts TO gpuledger_admin;

CREATE ROLE IF NOT EXISTS gpuledger_writer;
GRANT SELECT, INSERT, ALTER DELETE ON gpuledger.* TO gpuledger_writer;

-- Views only: they run with the rights of whoever migrated, so their tables need no grant. (The one table says which schema
-- this is, for `gpuledger report`.)
CREATE ROLE IF NOT EXISTS gpuledger_reader;
GRANT SELECT ON gpuledger.agent_health TO gpuledger_reader;
GRANT SELECT ON gpuledger.capacity_daily TO gpuledger_reader;
GRANT SELECT ON gpuledger.capacity_hourly TO gpuledger_reader;
GRANT SELECT ON gpuledger.consolidation_candidates TO gpuledger_reader;
GRANT SELECT ON gpuledger.endpoint_traffic TO gpuledger_reader;
GRANT SELECT ON gpuledger.findings TO gpuledger_reader;
GRANT SELECT ON gpuledger.fleet_seen TO gpuledger_reader;
GRANT SELECT ON gpuledger.gpu_allocation TO gpuledger_reader;
GRANT SELECT ON gpuledger.gpu_price_list TO gpuledger_reader;
GRANT SELECT ON gpuledger.gpu_usage TO gpuledger_reader;
GRANT SELECT ON gpuledger.gpus TO gpuledger_reader;
GRANT SELECT ON gpuledger.hosts TO gpuledger_reader;
GRANT SELECT ON gpuledger.idle_allocations TO gpuledger_reader;
GRANT SELECT ON gpuledger.isolation_violations TO gpuledger_reader;
GRANT SELECT ON gpuledger.kept_from TO gpuledger_reader;
GRANT SELECT ON gpuledger.ledger_balance TO gpuledger_reader;
GRANT SELECT ON gpuledger.ledger_daily TO gpuledger_reader;
GRANT SELECT ON gpuledger.ledger_hourly TO gpuledger_reader;
GRANT SELECT ON gpuledger.load_profile TO gpuledger_reader;
GRANT SELECT ON gpuledger.notifications TO gpuledger_reader;
GRANT SELECT ON gpuledger.open_findings TO gpuledger_reader;
GRANT SELECT ON gpuledger.operational_surface TO gpuledger_reader;
GRANT SELECT ON gpuledger.pool_headroom TO gpuledger_reader;
GRANT SELECT ON gpuledger.process_usage TO gpuledger_reader;
GRANT SELECT ON gpuledger.proposed_requests TO gpuledger_reader;
GRANT SELECT ON gpuledger.request_groups TO gpuledger_reader;
GRANT SELECT ON gpuledger.request_review TO gpuledger_reader;
GRANT SELECT ON gpuledger.requested_hourly TO gpuledger_reader;
GRANT SELECT ON gpuledger.requests_in_force TO gpuledger_reader;
GRANT SELECT ON gpuledger.resource_profile TO gpuledger_reader;
GRANT SELECT ON gpuledger.schema_migrations TO gpuledger_reader;
GRANT SELECT ON gpuledger.scaling_verdict TO gpuledger_reader;
GRANT SELECT ON gpuledger.slo_attainment TO gpuledger_reader;
GRANT SELECT ON gpuledger.telemetry_gaps TO gpuledger_reader;
GRANT SELECT ON gpuledger.traffic_concentration TO gpuledger_reader;
GRANT SELECT ON gpuledger.traffic_daily TO gpuledger_reader;
GRANT SELECT ON gpuledger.traffic_hourly TO gpuledger_reader;
GRANT SELECT ON gpuledger.unattributed_usage TO gpuledger_reader;
GRANT SELECT ON gpuledger.unrequested_usage TO gpuledger_reader;
GRANT SELECT ON gpuledger.usage_by_request TO gpuledger_reader;
GRANT SELECT ON gpuledger.usage_daily TO gpuledger_reader;
GRANT SELECT ON gpuledger.usage_hourly TO gpuledger_reader;
GRANT SELECT ON gpuledger.waste_by_model TO gpuledger_reader;
GRANT SELECT ON gpuledger.waste_by_team TO gpuledger_reader;
GRANT SELECT ON gpuledger.workload_hourly TO gpuledger_reader;

-- Of the settings a client may change its timeout alone: Grafana's plugin sets it to its own and 5 seconds, gpuledger to 300.
-- The two on inserts, of which a reader has none, are as gpuledger's commands want them.
CREATE SETTINGS PROFILE OR REPLACE gpuledger_reader SETTINGS
    readonly = 1,
    async_insert = 0,
    insert_deduplicate = 0,
    max_execution_time = 60 MIN 1 MAX 300 CHANGEABLE_IN_READONLY,
    max_memory_usage = 4000000000,
    max_memory_usage_for_user = 8000000000,
    max_concurrent_queries_for_user = 40,
    max_result_rows = 1000000,
    result_overflow_mode = 'throw'
    TO gpuledger_reader;

-- Four queries at any time, for an hour.
CREATE QUOTA OR REPLACE gpuledger_reader FOR INTERVAL 1 hour MAX execution_time = 14400 TO gpuledger_reader;
