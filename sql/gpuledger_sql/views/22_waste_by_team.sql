-- What did each team ask for and not use, day by day?
CREATE OR REPLACE VIEW waste_by_team
(
    day Date COMMENT 'Day, UTC',
    team LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    requested_gpu_hours Float64 COMMENT 'Asked for by approved requests, GPU-hours',
    allocated_gpu_hours Float64 COMMENT 'Held, or granted without a process, GPU-hours',
    active_gpu_hours Float64 COMMENT 'Held in windows with SM time: used, GPU-hours',
    busy_gpu_hours Float64 COMMENT 'SMs busy, GPU-hours',
    unmeasured_gpu_hours Float64 COMMENT 'Held, and nobody can say whether the SMs were busy, GPU-hours',
    unclaimed_gpu_hours Float64 COMMENT 'Waste: requested and not allocated, GPU-hours',
    idle_gpu_hours Float64 COMMENT 'Waste: allocated in windows without SM time, GPU-hours',
    underused_gpu_hours Float64 COMMENT 'Waste: active and not busy, GPU-hours',
    waste_gpu_hours Float64 COMMENT 'Unclaimed + idle + underused, GPU-hours',
    requested_gib_hours Float64 COMMENT 'Memory of the requested GPUs, GiB-hours; 0 where the GPU model is not known',
    allocated_gib_hours Float64 COMMENT 'Memory of the allocated GPUs, GiB-hours',
    used_gib_hours Float64 COMMENT 'Memory that processes used, GiB-hours',
    allocated_usd Nullable(Float64) COMMENT 'Price of what was allocated, USD; NULL: no price known',
    waste_usd Nullable(Float64) COMMENT 'Price of the waste, USD; NULL: no price known, then see unpriced_waste_gpu_hours',
    unpriced_waste_gpu_hours Float64 COMMENT 'Waste that waste_usd leaves out because no price is known, GPU-hours'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    day,
    team,
    sum(l.requested_gpu_hours) AS requested_gpu_hours,
    sum(l.allocated_gpu_hours) AS allocated_gpu_hours,
    sum(l.active_gpu_hours) AS active_gpu_hours,
    sum(l.busy_gpu_hours) AS busy_gpu_hours,
    sum(l.unmeasured_gpu_hours) AS unmeasured_gpu_hours,
    sum(l.unclaimed_gpu_hours) AS unclaimed_gpu_hours,
    sum(l.idle_gpu_hours) AS idle_gpu_hours,
    sum(l.underused_gpu_hours) AS underused_gpu_hours,
    sum(l.waste_gpu_hours) AS waste_gpu_hours,
    sum(l.requested_gib_hours) AS requested_gib_hours,
    sum(l.allocated_gib_hours) AS allocated_gib_hours,
    sum(l.used_gib_hours) AS used_gib_hours,
    sum(l.allocated_usd) AS allocated_usd,
    sum(l.waste_usd) AS waste_usd,
    sum(l.unpriced_waste_gpu_hours) AS unpriced_waste_gpu_hours
FROM ledger_daily AS l
GROUP BY day, team
COMMENT 'Requested against used, by day and team. Units are in the column names; see docs/books.md.'
