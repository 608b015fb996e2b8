-- What do requests of the same kind ask for, in the words of the fleet?
CREATE OR REPLACE VIEW request_groups
(
    request_group UInt64 COMMENT 'Same for requests that ask for the same',
    team LowCardinality(String) COMMENT 'Who asks',
    pool LowCardinality(String) COMMENT 'In which pool',
    model LowCardinality(String) COMMENT 'For which model; empty: any',
    endpoint LowCardinality(String) COMMENT 'For which endpoint; empty: any',
    use_case LowCardinality(String) COMMENT 'For which use case; empty: any',
    gpu_model LowCardinality(String) COMMENT 'Part of the GPU model name wanted; empty: any',
    fleet_cluster LowCardinality(String) COMMENT 'The cluster, if only one has such GPUs in the pool; else empty',
    fleet_gpu_model LowCardinality(String) COMMENT 'The GPU model, if only one in the pool fits; else as in gpu_model'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    f.gpu_model != '' AND (r.gpu_model = '' OR positionCaseInsensitiveUTF8(f.gpu_model, r.gpu_model) > 0) AS fits
SELECT
    r.request_group AS request_group,
    r.team AS team,
    r.pool AS pool,
    r.model AS model,
    r.endpoint AS endpoint,
    r.use_case AS use_case,
    any(r.gpu_model) AS gpu_model,
    if(uniqExactIf(f.cluster, fits) = 1, anyIf(f.cluster, fits), '') AS fleet_cluster,
    if(uniqExactIf(f.gpu_model, fits) = 1, anyIf(f.gpu_model, fits), any(r.gpu_model)) AS fleet_gpu_model
FROM capacity_requests AS r
LEFT JOIN fleet_seen AS f ON f.host_pool = r.pool
GROUP BY request_group, team, pool, model, endpoint, use_case
COMMENT 'Kinds of capacity requests, each matched to the fleet.'
