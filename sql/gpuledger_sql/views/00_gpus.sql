-- Which GPUs and MIG instances are there?
CREATE OR REPLACE VIEW gpus
(
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host String COMMENT 'Host that the GPU is in',
    gpu String COMMENT 'UUID of the GPU or MIG instance',
    gpu_index UInt16 COMMENT 'Ordinal of the physical GPU on its host',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    memory_mib Nullable(UInt32) COMMENT 'Memory, MiB; NULL: not offered',
    parent_gpu String COMMENT 'UUID of the physical GPU that a MIG instance is cut from, else empty',
    share_milli UInt16 COMMENT 'Share of a physical GPU, thousandths',
    mig_profile LowCardinality(String) COMMENT 'MIG profile as NVML names it, else empty',
    seen_at DateTime64(3, 'UTC') COMMENT 'When its host last reported it'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    cluster,
    host,
    gpu,
    gpu_index,
    gpu_model,
    if(raw.memory_mib = 0, NULL, raw.memory_mib) AS memory_mib,
    parent_gpu,
    share_milli,
    mig_profile,
    seen_at
FROM gpus_raw AS raw FINAL
COMMENT 'One row per GPU or MIG instance ever seen.';
