-- What did each GPU do, window by window?
CREATE OR REPLACE VIEW gpu_usage
(
    ts DateTime('UTC') COMMENT 'Start of the window',
    window_s UInt16 COMMENT 'Length of the window, seconds',
    cluster LowCardinality(String) COMMENT 'Cluster of the host',
    host LowCardinality(String) COMMENT 'Host that reported the row',
    host_pool LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    gpu LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it',
    gpu_index UInt16 COMMENT 'Ordinal of the physical GPU on its host',
    observed_ms UInt32 COMMENT 'Time the agent watched the GPU, milliseconds of a whole GPU',
    unallocated_ms UInt32 COMMENT 'Observed time in which nobody held the GPU or was granted it, milliseconds of a whole GPU',
    sm_busy_ms Nullable(UInt32) COMMENT 'Time the SMs were busy, milliseconds of a whole GPU; NULL: unknown',
    sm_pct_max Nullable(UInt8) COMMENT 'Highest SM use sampled, percent; NULL: unknown',
    sm_source Enum8('unspecified' = 0, 'process' = 1, 'device' = 2, 'apportioned' = 3, 'gpm' = 4, 'unknown' = 5) COMMENT 'Where the SM figures come from',
    mem_mib_mean Nullable(UInt32) COMMENT 'GPU memory in use, mean, MiB; NULL: not offered',
    mem_mib_max Nullable(UInt32) COMMENT 'GPU memory in use, highest, MiB; NULL: not offered',
    mem_total_mib Nullable(UInt32) COMMENT 'GPU memory there is, MiB; NULL: not offered',
    power_w_mean Nullable(UInt16) COMMENT 'Power, mean, watts; NULL: not offered',
    power_w_max Nullable(UInt16) COMMENT 'Power, highest, watts; NULL: not offered',
    temperature_c_max Nullable(UInt16) COMMENT 'Temperature, highest, degrees Celsius; NULL: not offered',
    sm_clock_mhz_mean Nullable(UInt16) COMMENT 'SM clock, mean, MHz; NULL: not offered',
    tensor_pct_mean Nullable(UInt8) COMMENT 'Tensor core activity, mean, percent; NULL: not offered',
    dram_pct_mean Nullable(UInt8) COMMENT 'Memory bandwidth in use, mean, percent; NULL: not offered',
    ecc_uncorrected Nullable(UInt32) COMMENT 'Volatile uncorrected ECC errors since the driver was loaded; NULL: not offered',
    xid UInt16 COMMENT 'Latest Xid in the window, 0 if none'
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
    gpu_index,
    observed_ms,
    unallocated_ms,
    if(raw.sm_source = 'unknown', NULL, raw.sm_busy_ms) AS sm_busy_ms,
    if(raw.sm_source = 'unknown', NULL, raw.sm_pct_max) AS sm_pct_max,
    sm_source,
    if(bitAnd(raw.offered, 1) = 0, NULL, raw.mem_mib_mean) AS mem_mib_mean,
    if(bitAnd(raw.offered, 1) = 0, NULL, raw.mem_mib_max) AS mem_mib_max,
    if(raw.mem_total_mib = 0, NULL, raw.mem_total_mib) AS mem_total_mib,
    if(bitAnd(raw.offered, 2) = 0, NULL, raw.power_w_mean) AS power_w_mean,
    if(bitAnd(raw.offered, 2) = 0, NULL, raw.power_w_max) AS power_w_max,
    if(bitAnd(raw.offered, 4) = 0, NULL, raw.temperature_c_max) AS temperature_c_max,
    if(bitAnd(raw.offered, 8) = 0, NULL, raw.sm_clock_mhz_mean) AS sm_clock_mhz_mean,
    if(bitAnd(raw.offered, 16) = 0, NULL, raw.tensor_pct_mean) AS tensor_pct_mean,
    if(bitAnd(raw.offered, 16) = 0, NULL, raw.dram_pct_mean) AS dram_pct_mean,
    if(bitAnd(raw.offered, 32) = 0, NULL, raw.ecc_uncorrected) AS ecc_uncorrected,
    xid
FROM gpu_usage_raw AS raw FINAL
COMMENT 'One row per window and GPU (or MIG instance).';
