-- What inference servers serve: windows, hours and days. As for the GPUs, see 0001_telemetry.sql,
-- 0003_rollups.sql and 0004_days.sql.

CREATE TABLE IF NOT EXISTS endpoint_traffic_raw
(
    ts DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Start of the window',
    window_s UInt16 CODEC(ZSTD(1)) COMMENT 'Length of the window, seconds',
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host that reported the row',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPUs of the host belong to',
    team LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    model LowCardinality(String) COMMENT 'Owner: model',
    endpoint LowCardinality(String) COMMENT 'Owner: endpoint',
    use_case LowCardinality(String) COMMENT 'Owner: use case',
    pool LowCardinality(String) COMMENT 'Pool that the workload says it belongs to',
    workload_kind LowCardinality(String) COMMENT 'process, container, pod, slurm_job or unit',
    workload LowCardinality(String) COMMENT 'Name of the workload, unique on its host',
    owner_source LowCardinality(String) COMMENT 'Resolver that named the owner, empty if none could',
    server LowCardinality(String) COMMENT 'Where the server was read, unique on its host',
    server_kind LowCardinality(String) COMMENT 'Kind of inference server: vllm, triton, ...',
    served_model LowCardinality(String) COMMENT 'Model as the server names it, empty if it does not',
    observed_ms UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Part of the window that the figures cover, milliseconds',
    requests UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests that ended, well or not',
    errors UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests that failed; they are among those that ended',
    prompt_tokens UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Tokens read',
    generated_tokens UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Tokens generated',
    running_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests in work x time; by observed_ms their mean number, milliseconds',
    running_max UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Requests in work at a time, at most',
    waiting_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests that waited x time; by observed_ms their mean number, milliseconds',
    waiting_max UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Requests that waited at a time, at most',
    kv_cache_pct_mean UInt8 CODEC(ZSTD(1)) COMMENT 'KV cache in use, mean, percent',
    kv_cache_pct_max UInt8 CODEC(ZSTD(1)) COMMENT 'KV cache in use, highest, percent',
    latency_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of all latencies, milliseconds',
    ttft_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of all times to first token, milliseconds',
    latency_buckets Array(Tuple(above_us UInt64, upto_us UInt64)) CODEC(ZSTD(1)) COMMENT 'Histogram of latency, from the arrival of a request to the end of its answer: the buckets that are not empty, each from above its lower edge to its upper edge, microseconds; 18446744073709551615: no limit',
    latency_counts Array(UInt64) CODEC(ZSTD(1)) COMMENT 'Requests in each of these buckets, not cumulative; empty: not offered, or none',
    ttft_buckets Array(Tuple(above_us UInt64, upto_us UInt64)) CODEC(ZSTD(1)) COMMENT 'Histogram of time to first token: the buckets that are not empty, each from above its lower edge to its upper edge, microseconds; 18446744073709551615: no limit',
    ttft_counts Array(UInt64) CODEC(ZSTD(1)) COMMENT 'Requests in each of these buckets, not cumulative; empty: not offered, or none',
    offered UInt16 CODEC(ZSTD(1)) COMMENT 'Which figures the server offers: 1 requests, 2 errors, 4 prompt tokens, 8 generated tokens, 16 running, 32 waiting, 64 KV cache; others are 0 and mean nothing'
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
PRIMARY KEY (pool, toStartOfHour(ts), host)
ORDER BY (pool, toStartOfHour(ts), host, endpoint, workload, server, served_model, ts, cluster)
TTL toStartOfDay(ts) + INTERVAL 337 HOUR
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Raw traffic windows of inference servers, before deduplication. Read endpoint_traffic instead.';

CREATE MATERIALIZED VIEW IF NOT EXISTS endpoint_traffic_touch TO touched_hours AS
SELECT DISTINCT toStartOfHour(ts) AS hour, now64(6, 'UTC') AS touched_at
FROM endpoint_traffic_raw;

CREATE TABLE IF NOT EXISTS traffic_hourly_versions
(
    hour DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Start of the hour',
    computed_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Version of the hour',
    cluster LowCardinality(String) COMMENT 'Cluster of the hosts',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPUs of the hosts belong to',
    pool LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    team LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    model LowCardinality(String) COMMENT 'Owner: model',
    endpoint LowCardinality(String) COMMENT 'Owner: endpoint',
    use_case LowCardinality(String) COMMENT 'Owner: use case',
    servers UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Inference servers that were heard, each of its models counted',
    observed_ms_by_minute Array(UInt64) CODEC(T64, ZSTD(1)) COMMENT '60 values, one a minute: the part of it in which a server was observed, milliseconds',
    requests_by_minute Array(UInt64) CODEC(T64, ZSTD(1)) COMMENT '60 values, one a minute: requests that ended in it',
    requests UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests that ended, well or not',
    errors UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests that failed; they are among those that ended',
    prompt_tokens UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Tokens read',
    generated_tokens UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Tokens generated',
    running_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests in work x time, milliseconds',
    running_known_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time of servers that tell how many are in work; with running_ms their mean number on a server, milliseconds',
    running_max UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Requests in work at a time on a server, at most',
    waiting_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests that waited x time, milliseconds',
    waiting_known_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time of servers that tell how many wait, milliseconds',
    waiting_max UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Requests that waited at a time on a server, at most',
    kv_cache_pct_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'KV cache in use x time, percent x milliseconds',
    kv_cache_known_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time of servers that tell it; with kv_cache_pct_ms their mean use of it, milliseconds',
    kv_cache_pct_max UInt8 CODEC(ZSTD(1)) COMMENT 'KV cache in use on a server, highest, percent',
    latency_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of all latencies, milliseconds',
    ttft_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of all times to first token, milliseconds',
    latency_buckets Array(Tuple(above_us UInt64, upto_us UInt64)) CODEC(ZSTD(1)) COMMENT 'Histogram of latency, from the arrival of a request to the end of its answer: the buckets that are not empty, each from above its lower edge to its upper edge, microseconds; 18446744073709551615: no limit',
    latency_counts Array(UInt64) CODEC(ZSTD(1)) COMMENT 'Requests in each of these buckets, not cumulative',
    ttft_buckets Array(Tuple(above_us UInt64, upto_us UInt64)) CODEC(ZSTD(1)) COMMENT 'Histogram of time to first token: likewise, microseconds',
    ttft_counts Array(UInt64) CODEC(ZSTD(1)) COMMENT 'Requests in each of these buckets, not cumulative',
    offered UInt16 CODEC(ZSTD(1)) COMMENT 'Which figures any of the servers offers: 1 requests, 2 errors, 4 prompt tokens, 8 generated tokens, 16 running, 32 waiting, 64 KV cache; others are 0 and mean nothing'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, computed_at, pool, team, model, endpoint, use_case, cluster, host_pool)
TTL toStartOfDay(hour) + INTERVAL 9673 HOUR
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'What inference servers served, by hour and owner, all versions. Read traffic_hourly instead.';

CREATE TABLE IF NOT EXISTS endpoint_hourly_versions
(
    hour DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Start of the hour',
    computed_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Version of the hour',
    team LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    model LowCardinality(String) COMMENT 'Owner: model',
    endpoint LowCardinality(String) COMMENT 'Owner: endpoint',
    requests UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests that ended, well or not',
    errors Nullable(UInt64) CODEC(T64, ZSTD(1)) COMMENT 'Requests that failed; NULL: not offered',
    observed_ms_by_minute Array(UInt64) CODEC(T64, ZSTD(1)) COMMENT '60 values, one a minute: the part of it in which a server was observed, milliseconds',
    observed_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Their sum, milliseconds',
    waiting_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests that waited x time, milliseconds',
    waiting_known Bool CODEC(ZSTD(1)) COMMENT 'Whether any server tells how many wait',
    latency_buckets Array(Tuple(above_us UInt64, upto_us UInt64)) CODEC(ZSTD(1)) COMMENT 'Histogram of latency, from the arrival of a request to the end of its answer: the buckets that are not empty, each from above its lower edge to its upper edge, microseconds; 18446744073709551615: no limit',
    latency_counts Array(UInt64) CODEC(ZSTD(1)) COMMENT 'Requests in each of these buckets, not cumulative',
    timed UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests in all of these buckets',
    latency_ms_mean Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Latency, mean, milliseconds; NULL: not offered',
    latency_ms_p50 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Latency, median, as if requests lay evenly in their bucket, milliseconds; NULL: not offered, or above the last bucket',
    latency_ms_p50_low Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'The same, at least, milliseconds',
    latency_ms_p50_high Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit',
    latency_ms_p95 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Latency, 95th percentile, likewise, milliseconds',
    latency_ms_p95_low Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'The same, at least, milliseconds',
    latency_ms_p95_high Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit',
    latency_ms_p99 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Latency, 99th percentile, likewise, milliseconds',
    latency_ms_p99_low Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'The same, at least, milliseconds',
    latency_ms_p99_high Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit',
    ttft_ms_p95 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Time to first token, 95th percentile, likewise, milliseconds',
    ttft_ms_p95_low Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'The same, at least, milliseconds',
    ttft_ms_p95_high Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit',
    kv_cache_pct Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'KV cache of its servers in use, mean, percent; NULL: not offered',
    sm_pct Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'SM use of its GPUs, mean of the time held, percent; NULL: nothing measured',
    gpus Float64 CODEC(ZSTD(1)) COMMENT 'GPUs allocated to it, mean of the hour, whole GPUs'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, computed_at, team, model, endpoint)
TTL toStartOfDay(hour) + INTERVAL 9673 HOUR
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'How every endpoint fared, by hour, over all its pools, all versions. Read slo_attainment instead.';

CREATE TABLE IF NOT EXISTS traffic_daily_versions
(
    day Date CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Day, UTC',
    computed_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Version of the day',
    cluster LowCardinality(String) COMMENT 'Cluster of the hosts',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPUs of the hosts belong to',
    pool LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    team LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    model LowCardinality(String) COMMENT 'Owner: model',
    endpoint LowCardinality(String) COMMENT 'Owner: endpoint',
    use_case LowCardinality(String) COMMENT 'Owner: use case',
    servers_max UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Inference servers that were heard in an hour, at most, each of its models counted',
    observed_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time in which a server was observed, milliseconds',
    requests UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests that ended, well or not',
    errors UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests that failed; they are among those that ended',
    prompt_tokens UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Tokens read',
    generated_tokens UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Tokens generated',
    running_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests in work x time, milliseconds',
    running_known_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time of servers that tell how many are in work; with running_ms their mean number on a server, milliseconds',
    running_max UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Requests in work at a time on a server, at most',
    waiting_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests that waited x time, milliseconds',
    waiting_known_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time of servers that tell how many wait, milliseconds',
    waiting_max UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Requests that waited at a time on a server, at most',
    kv_cache_pct_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'KV cache in use x time, percent x milliseconds',
    kv_cache_known_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Time of servers that tell it; with kv_cache_pct_ms their mean use of it, milliseconds',
    kv_cache_pct_max UInt8 CODEC(ZSTD(1)) COMMENT 'KV cache in use on a server, highest, percent',
    latency_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of all latencies, milliseconds',
    ttft_ms UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Sum of all times to first token, milliseconds',
    latency_buckets Array(Tuple(above_us UInt64, upto_us UInt64)) CODEC(ZSTD(1)) COMMENT 'Histogram of latency, from the arrival of a request to the end of its answer: the buckets that are not empty, each from above its lower edge to its upper edge, microseconds; 18446744073709551615: no limit',
    latency_counts Array(UInt64) CODEC(ZSTD(1)) COMMENT 'Requests in each of these buckets, not cumulative',
    ttft_buckets Array(Tuple(above_us UInt64, upto_us UInt64)) CODEC(ZSTD(1)) COMMENT 'Histogram of time to first token: likewise, microseconds',
    ttft_counts Array(UInt64) CODEC(ZSTD(1)) COMMENT 'Requests in each of these buckets, not cumulative',
    offered UInt16 CODEC(ZSTD(1)) COMMENT 'Which figures any of the servers offers: 1 requests, 2 errors, 4 prompt tokens, 8 generated tokens, 16 running, 32 waiting, 64 KV cache; others are 0 and mean nothing'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, computed_at, pool, team, model, endpoint, use_case, cluster, host_pool)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'What inference servers served, by day and owner, all versions. Read traffic_daily instead.';

CREATE TABLE IF NOT EXISTS scaling_verdict_versions
(
    day Date CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Day, UTC',
    computed_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Version of the day',
    team LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    model LowCardinality(String) COMMENT 'Model; empty: not said',
    endpoint LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    requests UInt64 CODEC(T64, ZSTD(1)) COMMENT 'Requests that ended, well or not',
    hours_judged UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Hours with an objective in force and requests',
    hours_met UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Hours in which the objective was met',
    hours_missed UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Hours in which it was missed',
    hours_unclear UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Hours of which histograms cannot tell',
    attainment_pct_low Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Hours that met the objective, at least, percent of those judged; NULL: none judged',
    attainment_pct_high Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'The same, at most, percent',
    target_attainment_pct Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'The same as promised in the last hour judged, percent',
    load_pct_mean Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'How full its GPUs and servers were, the higher of SM and KV cache use, mean of hours with requests, percent; NULL: nothing measured',
    load_pct_peak Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'The same, highest hour, percent',
    missed_load_pct Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'The same, mean of the hours missed, percent; NULL: none missed, or nothing measured',
    gpus Float64 CODEC(ZSTD(1)) COMMENT 'GPUs allocated, mean of hours with traffic telemetry, whole GPUs',
    verdict LowCardinality(String) COMMENT 'enough: the objective is met. tune: missed with headroom; batch, quantize or route. grow: missed while full. unclear: histograms cannot tell, or load was not measured. no_objective: none in force in an hour with requests'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, computed_at, team, model, endpoint)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Attainment crossed with utilization, by day, all versions. Read scaling_verdict instead.';
