-- Which workload was granted which GPU, used or not?
CREATE OR REPLACE VIEW gpu_allocation
(
    ts DateTime('UTC') COMMENT 'Start of the window',
    window_s UInt16 COMMENT 'Length of the window, seconds',
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host that reported the row',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    gpu LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    team LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    model LowCardinality(String) COMMENT 'Owner: model',
    endpoint LowCardinality(String) COMMENT 'Owner: endpoint',
    use_case LowCardinality(String) COMMENT 'Owner: use case',
    pool LowCardinality(String) COMMENT 'Pool that the workload says it belongs to',
    workload_kind LowCardinality(String) COMMENT 'process, container, pod, slurm_job or unit',
    workload LowCardinality(String) COMMENT 'Name of the workload, unique on its host',
    owner_source LowCardinality(String) COMMENT 'Resolver that named the owner, empty if none could',
    grant_source LowCardinality(String) COMMENT 'Who granted the GPU',
    granted_ms UInt32 COMMENT 'Time the grant covered, divided among those granted the same GPU, milliseconds of a whole GPU',
    unheld_ms UInt32 COMMENT 'Part of the time the GPU was not held that falls to this grant, milliseconds of a whole GPU',
    share_milli UInt16 COMMENT 'Part of the GPU or MIG instance that was granted, thousandths; 0: not told'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    ts,
    window_s,
    cluster,
    host,
    host_pool,
    gpu,
    gpu_model,
    team,
    model,
    endpoint,
    use_case,
    pool,
    workload_kind,
    workload,
    owner_source,
    grant_source,
    granted_ms,
    unheld_ms,
    share_milli
FROM gpu_allocation_raw AS raw FINAL
COMMENT 'One row per window, GPU and workload that was granted it.';
