-- What load did each endpoint serve?
CREATE OR REPLACE VIEW endpoint_traffic
(
    ts DateTime('UTC') COMMENT 'Start of the window',
    window_s UInt16 COMMENT 'Length of the window, seconds',
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host that reported the row',
    team LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    model LowCardinality(String) COMMENT 'Owner: model',
    endpoint LowCardinality(String) COMMENT 'Owner: endpoint',
    pool LowCardinality(String) COMMENT 'Pool that the workload says it belongs to',
    workload LowCardinality(String) COMMENT 'Name of the workload, unique on its host',
    requests UInt64 COMMENT 'Requests answered',
    errors UInt64 COMMENT 'Requests that failed',
    latency_histogram Map(UInt32, UInt64) COMMENT 'Upper edge of a bucket, milliseconds -> requests in it; not cumulative',
    prompt_tokens UInt64 COMMENT 'Tokens read',
    generated_tokens UInt64 COMMENT 'Tokens generated'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    ts,
    window_s,
    cluster,
    host,
    team,
    model,
    endpoint,
    pool,
    workload,
    requests,
    errors,
    latency_histogram,
    prompt_tokens,
    generated_tokens
FROM endpoint_traffic_raw AS raw FINAL
COMMENT 'One row per window and endpoint of a host.';
