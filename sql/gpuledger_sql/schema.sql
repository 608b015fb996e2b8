CREATE VIEW agent_health
(
    `ts` DateTime('UTC') COMMENT 'Start of the window',
    `window_s` UInt16 COMMENT 'Length of the window, seconds',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host that reported the row',
    `ticks` UInt32 COMMENT 'Readings of a GPU',
    `ticks_missed` UInt32 COMMENT 'Readings that were due and did not happen',
    `tick_ms_max` UInt32 COMMENT 'Longest reading, milliseconds',
    `gpus` UInt32 COMMENT 'GPUs that the driver knows',
    `gpus_failed` UInt32 COMMENT 'GPUs lost, hung or failing',
    `processes` UInt32 COMMENT 'Processes on the GPUs',
    `processes_unattributed` UInt32 COMMENT 'Processes without a team',
    `spool_batches` UInt32 COMMENT 'Batches on the disk of the host that wait for an ack',
    `spool_bytes` UInt64 COMMENT 'Bytes of these',
    `rows_dropped` UInt64 COMMENT 'Rows given up since the agent started',
    `rows_refused` UInt64 COMMENT 'Rows that a collector refused since the agent started',
    `cpu_ms` UInt32 COMMENT 'CPU time of the agent, milliseconds',
    `rss_mib` UInt32 COMMENT 'Resident memory of the agent, MiB',
    `clock_step_ms` UInt32 COMMENT 'How far the wall clock was stepped, milliseconds',
    `agent_version` LowCardinality(String) COMMENT 'Version of the agent'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'One row per window and agent.'
AS SELECT
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
FROM agent_health_raw AS raw
FINAL;

CREATE TABLE agent_health_raw
(
    `ts` DateTime('UTC') COMMENT 'Start of the window' CODEC(DoubleDelta, ZSTD(1)),
    `window_s` UInt16 COMMENT 'Length of the window, seconds' CODEC(ZSTD(1)),
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host that reported the row',
    `ticks` UInt32 COMMENT 'Readings of a GPU' CODEC(T64, ZSTD(1)),
    `ticks_missed` UInt32 COMMENT 'Readings that were due and did not happen' CODEC(T64, ZSTD(1)),
    `tick_ms_max` UInt32 COMMENT 'Longest reading, milliseconds' CODEC(T64, ZSTD(1)),
    `gpus` UInt32 COMMENT 'GPUs that the driver knows' CODEC(T64, ZSTD(1)),
    `gpus_failed` UInt32 COMMENT 'GPUs lost, hung or failing' CODEC(T64, ZSTD(1)),
    `processes` UInt32 COMMENT 'Processes on the GPUs' CODEC(T64, ZSTD(1)),
    `processes_unattributed` UInt32 COMMENT 'Processes without a team' CODEC(T64, ZSTD(1)),
    `spool_batches` UInt32 COMMENT 'Batches on the disk of the host that wait for an ack' CODEC(T64, ZSTD(1)),
    `spool_bytes` UInt64 COMMENT 'Bytes of these' CODEC(T64, ZSTD(1)),
    `rows_dropped` UInt64 COMMENT 'Rows given up since the agent started' CODEC(T64, ZSTD(1)),
    `rows_refused` UInt64 COMMENT 'Rows that a collector refused since the agent started' CODEC(T64, ZSTD(1)),
    `cpu_ms` UInt32 COMMENT 'CPU time of the agent, milliseconds' CODEC(T64, ZSTD(1)),
    `rss_mib` UInt32 COMMENT 'Resident memory of the agent, MiB' CODEC(T64, ZSTD(1)),
    `clock_step_ms` UInt32 COMMENT 'How far the wall clock was stepped, milliseconds' CODEC(T64, ZSTD(1)),
    `agent_version` LowCardinality(String) COMMENT 'Version of the agent'
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
PRIMARY KEY (toStartOfHour(ts), host)
ORDER BY (toStartOfHour(ts), host, ts, cluster)
TTL toStartOfDay(ts) + toIntervalHour(337)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'Raw windows of the agents themselves, before deduplication. Read agent_health instead.';

CREATE VIEW capacity_daily
(
    `day` Date COMMENT 'Day, UTC',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `hosts_max` UInt32 COMMENT 'Hosts that reported in an hour, at most',
    `gpus_max` UInt32 COMMENT 'GPUs (or MIG instances) that were observed in an hour, at most',
    `observed_ms` UInt64 COMMENT 'Time observed: the capacity, milliseconds of a whole GPU',
    `unallocated_ms` UInt64 COMMENT 'Time neither held nor granted, milliseconds of a whole GPU',
    `busy_ms` UInt64 COMMENT 'SM-busy time by the devices themselves, milliseconds of a whole GPU',
    `mem_total_mib_ms` UInt64 COMMENT 'GPU memory x observed time, MiB x milliseconds; by observed_ms the memory of a whole GPU; 0 if unknown'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'What the GPUs offered, by day. Sums of milliseconds of whole GPUs, see docs/books.md.'
AS SELECT
    toDate(c.hour) AS day,
    cluster,
    host_pool,
    gpu_model,
    max(c.hosts) AS hosts_max,
    max(c.gpus) AS gpus_max,
    sum(c.observed_ms) AS observed_ms,
    sum(c.unallocated_ms) AS unallocated_ms,
    sum(c.busy_ms) AS busy_ms,
    sum(c.mem_total_mib_ms) AS mem_total_mib_ms
FROM capacity_hourly AS c
WHERE c.hour >= toDateTime((
    SELECT hours_from
    FROM read_by_hour
), 'UTC')
GROUP BY
    day,
    cluster,
    host_pool,
    gpu_model
UNION ALL
SELECT
    day,
    cluster,
    host_pool,
    gpu_model,
    hosts_max,
    gpus_max,
    observed_ms,
    unallocated_ms,
    busy_ms,
    mem_total_mib_ms
FROM capacity_daily_versions
FINAL
WHERE (day < (
    SELECT hours_from
    FROM read_by_hour
)) AND ((day, computed_at) IN (
    SELECT
        day,
        max(computed_at)
    FROM rolled_days
    GROUP BY day
));

CREATE TABLE capacity_daily_versions
(
    `day` Date COMMENT 'Day, UTC' CODEC(DoubleDelta, ZSTD(1)),
    `computed_at` DateTime64(6, 'UTC') COMMENT 'Version of the day' CODEC(DoubleDelta, ZSTD(1)),
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `hosts_max` UInt32 COMMENT 'Hosts that reported in an hour, at most',
    `gpus_max` UInt32 COMMENT 'GPUs (or MIG instances) that were observed in an hour, at most',
    `observed_ms` UInt64 COMMENT 'Time observed: the capacity, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `unallocated_ms` UInt64 COMMENT 'Time neither held nor granted, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `busy_ms` UInt64 COMMENT 'SM-busy time by the devices themselves, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `mem_total_mib_ms` UInt64 COMMENT 'GPU memory x observed time, MiB x milliseconds; by observed_ms the memory of a whole GPU; 0 if unknown' CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, computed_at, host_pool, gpu_model, cluster)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'What the GPUs offered, by day, all versions. Read capacity_daily instead.';

CREATE VIEW capacity_hourly
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `first_seen` DateTime('UTC') COMMENT 'Start of the first window observed in the hour',
    `last_seen` DateTime('UTC') COMMENT 'End of the last window observed in the hour',
    `hosts` UInt32 COMMENT 'Hosts that reported',
    `gpus` UInt32 COMMENT 'GPUs (or MIG instances) that were observed',
    `observed_ms` UInt64 COMMENT 'Time observed: the capacity, milliseconds of a whole GPU',
    `unallocated_ms` UInt64 COMMENT 'Time neither held nor granted, milliseconds of a whole GPU',
    `busy_ms` UInt64 COMMENT 'SM-busy time by the devices themselves, milliseconds of a whole GPU',
    `observed_gpu_ms_by_minute` Array(UInt64) COMMENT '60 values, one a minute: observed_ms of it',
    `mem_total_mib_ms` UInt64 COMMENT 'GPU memory x observed time, MiB x milliseconds; by observed_ms the memory of a whole GPU; 0 if unknown'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'What the GPUs offered, by hour. Sums of milliseconds of whole GPUs, see docs/books.md.'
AS SELECT
    hour,
    cluster,
    host_pool,
    gpu_model,
    first_seen,
    last_seen,
    hosts,
    gpus,
    observed_ms,
    unallocated_ms,
    busy_ms,
    observed_gpu_ms_by_minute,
    mem_total_mib_ms
FROM capacity_hourly_versions
FINAL
WHERE (hour >= (
    SELECT hourly_from
    FROM kept_from
)) AND ((hour, computed_at) IN (
    SELECT
        hour,
        argMax(computed_at, rolled_at)
    FROM rolled_hours
    GROUP BY hour
));

CREATE MATERIALIZED VIEW capacity_hourly_fleet TO fleet_seen
(
    `cluster` LowCardinality(String),
    `host_pool` LowCardinality(String),
    `gpu_model` LowCardinality(String),
    `observed_ms` UInt64,
    `mem_total_mib_ms` UInt64
)
AS SELECT
    cluster,
    host_pool,
    gpu_model,
    observed_ms,
    mem_total_mib_ms
FROM capacity_hourly_versions
WHERE observed_ms > 0;

CREATE TABLE capacity_hourly_versions
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour' CODEC(DoubleDelta, ZSTD(1)),
    `computed_at` DateTime64(6, 'UTC') COMMENT 'Version of the hour' CODEC(DoubleDelta, ZSTD(1)),
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `first_seen` DateTime('UTC') COMMENT 'Start of the first window observed in the hour',
    `last_seen` DateTime('UTC') COMMENT 'End of the last window observed in the hour',
    `hosts` UInt32 COMMENT 'Hosts that reported',
    `gpus` UInt32 COMMENT 'GPUs (or MIG instances) that were observed',
    `observed_ms` UInt64 COMMENT 'Time observed: the capacity, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `unallocated_ms` UInt64 COMMENT 'Time neither held nor granted, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `busy_ms` UInt64 COMMENT 'SM-busy time by the devices themselves, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `observed_gpu_ms_by_minute` Array(UInt64) COMMENT '60 values, one a minute: observed_ms of it' CODEC(T64, ZSTD(1)),
    `mem_total_mib_ms` UInt64 COMMENT 'GPU memory x observed time, MiB x milliseconds; by observed_ms the memory of a whole GPU; 0 if unknown' CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, computed_at, host_pool, gpu_model, cluster)
TTL toStartOfDay(hour) + toIntervalHour(9673)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'What the GPUs offered, by hour, all versions. Read capacity_hourly instead.';

CREATE TABLE capacity_requests
(
    `id` String COMMENT 'Name of the request, chosen by its owner',
    `applied_at` DateTime64(6, 'UTC') COMMENT 'When this version was applied; it counts from then on, the first version from its own start',
    `request_group` UInt64 MATERIALIZED cityHash64(team, pool, model, endpoint, use_case, lowerUTF8(gpu_model)) COMMENT 'Same for requests that ask for the same',
    `team` LowCardinality(String) COMMENT 'Who asks',
    `model` LowCardinality(String) COMMENT 'For which model; empty: any',
    `endpoint` LowCardinality(String) COMMENT 'For which endpoint; empty: any',
    `use_case` LowCardinality(String) COMMENT 'For which use case; empty: any',
    `pool` LowCardinality(String) COMMENT 'In which pool',
    `gpu_model` LowCardinality(String) COMMENT 'Part of the GPU model name wanted, without regard to case; empty: any',
    `gpus` Decimal(12, 3) COMMENT 'How many GPUs',
    `gpu_memory_gib` Nullable(Decimal(12, 3)) COMMENT 'Memory that the team expects to need on each GPU, GiB; NULL: not said',
    `expected_sm_pct` Nullable(Decimal(6, 3)) COMMENT 'SM use that the team expects, percent of each GPU; NULL: not said',
    `requested_from` DateTime('UTC') COMMENT 'From when on',
    `requested_until` Nullable(DateTime('UTC')) COMMENT 'Until when; NULL: no end',
    `status` Enum8('proposed' = 1, 'approved' = 2, 'rejected' = 3, 'withdrawn' = 4) COMMENT 'Only approved requests count as requested',
    `owner` String COMMENT 'Person or group that answers for it',
    `reason` String COMMENT 'Why, in the words of the team'
)
ENGINE = MergeTree
ORDER BY (id, applied_at)
SETTINGS index_granularity = 8192
COMMENT 'Capacity requests, every version that was applied. Written by gpuledger requests apply.';

CREATE VIEW consolidation_candidates
(
    `pool` LowCardinality(String) COMMENT 'Pool that the workloads belong to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `team` LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    `model` LowCardinality(String) COMMENT 'Model; empty: not said',
    `gpus_now` Float64 COMMENT 'GPUs allocated at a time, 95th percentile of minutes, rounded up, whole GPUs',
    `mem_mib_p99` Float64 COMMENT 'Memory on one GPU, 99th percentile of windows, MiB',
    `sm_pct_p95` Float64 COMMENT 'SM use of one GPU, 95th percentile of windows, percent',
    `fits_on` UInt32 COMMENT 'Number of the shared GPU, from 1, on which its first replica would go',
    `pool_gpus_now` Float64 COMMENT 'GPUs that all candidates of the pool and GPU model take now, whole GPUs',
    `pool_gpus_needed` UInt32 COMMENT 'GPUs that they need together, whole GPUs',
    `saved_gpus` Float64 COMMENT 'pool_gpus_now - pool_gpus_needed, at least 0, whole GPUs'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Small models of a pool that would fit together on fewer GPUs, with a packing.'
AS WITH
    needs AS
    (
        SELECT
            pool,
            gpu_model,
            team,
            model,
            quantileExactWeightedArray(0.99)(mapKeys(u.mem_mib_histogram), mapValues(u.mem_mib_histogram)) + 16 AS mem,
            quantileExactWeightedArray(0.95)(mapKeys(u.sm_pct_histogram), mapValues(u.sm_pct_histogram)) AS sm
        FROM usage_daily AS u
        WHERE u.day >= (toDate((
            SELECT max(hour)
            FROM rolled_hours
        )) - 7)
        GROUP BY
            pool,
            gpu_model,
            team,
            model
        HAVING (sum(u.mem_known_ms) > 0) AND max(notEmpty(u.sm_pct_histogram))
    ),
    allocated AS
    (
        SELECT
            pool,
            gpu_model,
            team,
            model,
            ceil(quantileExactArray(0.95)(arrayFilter(ms -> (ms > 0), h.by_minute)) / 60000) AS gpus
        FROM
        (
            SELECT
                hour,
                pool,
                gpu_model,
                team,
                model,
                sumForEach(u.allocated_gpu_ms_by_minute) AS by_minute
            FROM usage_hourly AS u
            WHERE u.hour >= ((
                SELECT max(hour)
                FROM rolled_hours
            ) - toIntervalDay(7))
            GROUP BY
                hour,
                pool,
                gpu_model,
                team,
                model
        ) AS h
        GROUP BY
            pool,
            gpu_model,
            team,
            model
    ),
    memory AS
    (
        SELECT
            gpu_model,
            sum(c.mem_total_mib_ms) / sum(c.observed_ms) AS mib
        FROM fleet_seen AS c
        GROUP BY gpu_model
    ),
    candidates AS
    (
        SELECT
            n.pool AS pool,
            n.gpu_model AS gpu_model,
            n.team AS team,
            n.model AS model,
            n.mem AS mem,
            n.sm AS sm,
            a.gpus AS gpus,
            n.mem / m.mib AS mem_share,
            n.sm / 100 AS sm_share
        FROM needs AS n
        INNER JOIN allocated AS a ON (a.pool = n.pool) AND (a.gpu_model = n.gpu_model) AND (a.team = n.team) AND (a.model = n.model)
        INNER JOIN memory AS m ON m.gpu_model = n.gpu_model
        WHERE (mem_share <= 0.5) AND (sm_share <= 0.5)
    ),
    plans AS
    (
        SELECT
            pool,
            gpu_model,
            sum(c.gpus) AS gpus_now,
            groupArray((c.team, c.model, c.gpus, c.mem, c.sm)) AS models,
            arrayReverseSort(groupArrayArray(arrayWithConstant(toUInt32(c.gpus), (c.mem_share, c.sm_share, c.team, c.model)))) AS replicas,
            arrayFold((plan, replica) -> if((((plan.2) + (replica.1)) <= 0.9) AND (((plan.3) + (replica.2)) <= 0.9), (plan.1, (plan.2) + (replica.1), (plan.3) + (replica.2), arrayPushBack(plan.4, plan.1)), (toUInt32((plan.1) + 1), replica.1, replica.2, arrayPushBack(plan.4, toUInt32((plan.1) + 1)))), replicas, (toUInt32(1), toFloat64(0), toFloat64(0), emptyArrayUInt32())) AS plan
        FROM candidates AS c
        GROUP BY
            pool,
            gpu_model
    )
SELECT
    p.pool AS pool,
    p.gpu_model AS gpu_model,
    if((m.1) = '', 'unattributed', m.1) AS team,
    m.2 AS model,
    m.3 AS gpus_now,
    m.4 AS mem_mib_p99,
    m.5 AS sm_pct_p95,
    (p.plan.4)[indexOf(arrayMap(r -> (r.3, r.4), p.replicas), (m.1, m.2))] AS fits_on,
    p.gpus_now AS pool_gpus_now,
    p.plan.1 AS pool_gpus_needed,
    greatest(pool_gpus_now - pool_gpus_needed, 0) AS saved_gpus
FROM plans AS p
ARRAY JOIN p.models AS m
WHERE pool_gpus_now > 1;

CREATE VIEW days_stand
(
    `day` Date COMMENT 'Day that has hours',
    `rolled_at` DateTime64(6, 'UTC') COMMENT 'When the latest roll-up of one of its hours began',
    `computed_at` DateTime64(6, 'UTC') COMMENT 'When the day was computed; 1970-01-01: never',
    `stands` UInt8 COMMENT '1: no hour of it has changed since',
    `ledger_stands` UInt8 COMMENT '1: nor does a request or price that was applied since reach back to it',
    `slos_stand` UInt8 COMMENT '1: it stands, and no objective that was applied since reaches back to it'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Which days say what their hours say, and were computed when.'
AS WITH
    declared AS
    (
        SELECT
            if(row_number() OVER (PARTITION BY id ORDER BY applied_at ASC) = 1, r.requested_from, toDateTime(r.applied_at, 'UTC')) AS reaches_to,
            applied_at
        FROM capacity_requests AS r
        UNION ALL
        SELECT
            priced_from,
            applied_at
        FROM gpu_prices
    ),
    (
        SELECT groupArray((toDate(reaches_to), applied_at))
        FROM declared
    ) AS declarations,
    (
        SELECT groupArray((toDate(valid_from), applied_at))
        FROM slos
    ) AS promises
SELECT
    h.day AS day,
    h.latest AS rolled_at,
    d.computed_at AS computed_at,
    (h.latest + toIntervalHour(1)) < d.computed_at AS stands,
    stands AND (NOT arrayExists(declaration -> (((declaration.1) <= h.day) AND ((declaration.2) >= d.computed_at)), declarations)) AS ledger_stands,
    stands AND (NOT arrayExists(promise -> (((promise.1) <= h.day) AND ((promise.2) >= d.computed_at)), promises)) AS slos_stand
FROM
(
    SELECT
        toDate(hour) AS day,
        max(r.rolled_at) AS latest
    FROM rolled_hours AS r
    WHERE hour >= (
        SELECT hourly_from
        FROM kept_from
    )
    GROUP BY day
) AS h
LEFT JOIN
(
    SELECT
        day,
        max(r.computed_at) AS computed_at
    FROM rolled_days AS r
    GROUP BY day
) AS d ON d.day = h.day;

CREATE TABLE endpoint_hourly_versions
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour' CODEC(DoubleDelta, ZSTD(1)),
    `computed_at` DateTime64(6, 'UTC') COMMENT 'Version of the hour' CODEC(DoubleDelta, ZSTD(1)),
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `requests` UInt64 COMMENT 'Requests that ended, well or not' CODEC(T64, ZSTD(1)),
    `errors` Nullable(UInt64) COMMENT 'Requests that failed; NULL: not offered' CODEC(T64, ZSTD(1)),
    `observed_ms_by_minute` Array(UInt64) COMMENT '60 values, one a minute: the part of it in which a server was observed, milliseconds' CODEC(T64, ZSTD(1)),
    `observed_ms` UInt64 COMMENT 'Their sum, milliseconds' CODEC(T64, ZSTD(1)),
    `waiting_ms` UInt64 COMMENT 'Requests that waited x time, milliseconds' CODEC(T64, ZSTD(1)),
    `waiting_known` Bool COMMENT 'Whether any server tells how many wait' CODEC(ZSTD(1)),
    `latency_buckets` Array(Tuple(
        above_us UInt64,
        upto_us UInt64)) COMMENT 'Histogram of latency, from the arrival of a request to the end of its answer: the buckets that are not empty, each from above its lower edge to its upper edge, microseconds; 18446744073709551615: no limit' CODEC(ZSTD(1)),
    `latency_counts` Array(UInt64) COMMENT 'Requests in each of these buckets, not cumulative' CODEC(ZSTD(1)),
    `timed` UInt64 COMMENT 'Requests in all of these buckets' CODEC(T64, ZSTD(1)),
    `latency_ms_mean` Nullable(Float64) COMMENT 'Latency, mean, milliseconds; NULL: not offered' CODEC(ZSTD(1)),
    `latency_ms_p50` Nullable(Float64) COMMENT 'Latency, median, as if requests lay evenly in their bucket, milliseconds; NULL: not offered, or above the last bucket' CODEC(ZSTD(1)),
    `latency_ms_p50_low` Nullable(Float64) COMMENT 'The same, at least, milliseconds' CODEC(ZSTD(1)),
    `latency_ms_p50_high` Nullable(Float64) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit' CODEC(ZSTD(1)),
    `latency_ms_p95` Nullable(Float64) COMMENT 'Latency, 95th percentile, likewise, milliseconds' CODEC(ZSTD(1)),
    `latency_ms_p95_low` Nullable(Float64) COMMENT 'The same, at least, milliseconds' CODEC(ZSTD(1)),
    `latency_ms_p95_high` Nullable(Float64) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit' CODEC(ZSTD(1)),
    `latency_ms_p99` Nullable(Float64) COMMENT 'Latency, 99th percentile, likewise, milliseconds' CODEC(ZSTD(1)),
    `latency_ms_p99_low` Nullable(Float64) COMMENT 'The same, at least, milliseconds' CODEC(ZSTD(1)),
    `latency_ms_p99_high` Nullable(Float64) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit' CODEC(ZSTD(1)),
    `ttft_ms_p95` Nullable(Float64) COMMENT 'Time to first token, 95th percentile, likewise, milliseconds' CODEC(ZSTD(1)),
    `ttft_ms_p95_low` Nullable(Float64) COMMENT 'The same, at least, milliseconds' CODEC(ZSTD(1)),
    `ttft_ms_p95_high` Nullable(Float64) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit' CODEC(ZSTD(1)),
    `kv_cache_pct` Nullable(Float64) COMMENT 'KV cache of its servers in use, mean, percent; NULL: not offered' CODEC(ZSTD(1)),
    `sm_pct` Nullable(Float64) COMMENT 'SM use of its GPUs, mean of the time held, percent; NULL: nothing measured' CODEC(ZSTD(1)),
    `gpus` Float64 COMMENT 'GPUs allocated to it, mean of the hour, whole GPUs' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, computed_at, team, model, endpoint)
TTL toStartOfDay(hour) + toIntervalHour(9673)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'How every endpoint fared, by hour, over all its pools, all versions. Read slo_attainment instead.';

CREATE VIEW endpoint_traffic
(
    `ts` DateTime('UTC') COMMENT 'Start of the window',
    `window_s` UInt16 COMMENT 'Length of the window, seconds',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host that reported the row',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs of the host belong to',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload says it belongs to',
    `workload_kind` LowCardinality(String) COMMENT 'process, container, pod, slurm_job or unit',
    `workload` LowCardinality(String) COMMENT 'Name of the workload, unique on its host',
    `owner_source` LowCardinality(String) COMMENT 'Resolver that named the owner, empty if none could',
    `server` LowCardinality(String) COMMENT 'Where the server was read, unique on its host',
    `server_kind` LowCardinality(String) COMMENT 'Kind of inference server: vllm, triton, ...',
    `served_model` LowCardinality(String) COMMENT 'Model as the server names it, empty if it does not',
    `observed_ms` UInt32 COMMENT 'Part of the window that the figures cover, milliseconds',
    `requests` Nullable(UInt64) COMMENT 'Requests that ended, well or not; NULL: not offered',
    `errors` Nullable(UInt64) COMMENT 'Requests that failed; they are among those that ended; NULL: not offered',
    `prompt_tokens` Nullable(UInt64) COMMENT 'Tokens read; NULL: not offered',
    `generated_tokens` Nullable(UInt64) COMMENT 'Tokens generated; NULL: not offered',
    `running_ms` Nullable(UInt64) COMMENT 'Requests in work x time; by observed_ms their mean number, milliseconds; NULL: not offered',
    `running_max` Nullable(UInt32) COMMENT 'Requests in work at a time, at most; NULL: not offered',
    `waiting_ms` Nullable(UInt64) COMMENT 'Requests that waited x time; by observed_ms their mean number, milliseconds; NULL: not offered',
    `waiting_max` Nullable(UInt32) COMMENT 'Requests that waited at a time, at most; NULL: not offered',
    `kv_cache_pct_mean` Nullable(UInt8) COMMENT 'KV cache in use, mean, percent; NULL: not offered',
    `kv_cache_pct_max` Nullable(UInt8) COMMENT 'KV cache in use, highest, percent; NULL: not offered',
    `latency_ms` UInt64 COMMENT 'Sum of all latencies, milliseconds',
    `ttft_ms` UInt64 COMMENT 'Sum of all times to first token, milliseconds',
    `latency_buckets` Array(Tuple(
        above_us UInt64,
        upto_us UInt64)) COMMENT 'Histogram of latency, from the arrival of a request to the end of its answer: the buckets that are not empty, each from above its lower edge to its upper edge, microseconds; 18446744073709551615: no limit',
    `latency_counts` Array(UInt64) COMMENT 'Requests in each of these buckets, not cumulative; empty: not offered, or none',
    `ttft_buckets` Array(Tuple(
        above_us UInt64,
        upto_us UInt64)) COMMENT 'Histogram of time to first token: the buckets that are not empty, each from above its lower edge to its upper edge, microseconds; 18446744073709551615: no limit',
    `ttft_counts` Array(UInt64) COMMENT 'Requests in each of these buckets, not cumulative; empty: not offered, or none'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'One row per window, inference server and model that it serves. Figures of the window, not since the server started.'
AS SELECT
    ts,
    window_s,
    cluster,
    host,
    host_pool,
    team,
    model,
    endpoint,
    use_case,
    pool,
    workload_kind,
    workload,
    owner_source,
    server,
    server_kind,
    served_model,
    observed_ms,
    if(bitAnd(raw.offered, 1) = 0, NULL, raw.requests) AS requests,
    if(bitAnd(raw.offered, 2) = 0, NULL, raw.errors) AS errors,
    if(bitAnd(raw.offered, 4) = 0, NULL, raw.prompt_tokens) AS prompt_tokens,
    if(bitAnd(raw.offered, 8) = 0, NULL, raw.generated_tokens) AS generated_tokens,
    if(bitAnd(raw.offered, 16) = 0, NULL, raw.running_ms) AS running_ms,
    if(bitAnd(raw.offered, 16) = 0, NULL, raw.running_max) AS running_max,
    if(bitAnd(raw.offered, 32) = 0, NULL, raw.waiting_ms) AS waiting_ms,
    if(bitAnd(raw.offered, 32) = 0, NULL, raw.waiting_max) AS waiting_max,
    if(bitAnd(raw.offered, 64) = 0, NULL, raw.kv_cache_pct_mean) AS kv_cache_pct_mean,
    if(bitAnd(raw.offered, 64) = 0, NULL, raw.kv_cache_pct_max) AS kv_cache_pct_max,
    latency_ms,
    ttft_ms,
    latency_buckets,
    latency_counts,
    ttft_buckets,
    ttft_counts
FROM endpoint_traffic_raw AS raw
FINAL;

CREATE TABLE endpoint_traffic_raw
(
    `ts` DateTime('UTC') COMMENT 'Start of the window' CODEC(DoubleDelta, ZSTD(1)),
    `window_s` UInt16 COMMENT 'Length of the window, seconds' CODEC(ZSTD(1)),
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host that reported the row',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs of the host belong to',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload says it belongs to',
    `workload_kind` LowCardinality(String) COMMENT 'process, container, pod, slurm_job or unit',
    `workload` LowCardinality(String) COMMENT 'Name of the workload, unique on its host',
    `owner_source` LowCardinality(String) COMMENT 'Resolver that named the owner, empty if none could',
    `server` LowCardinality(String) COMMENT 'Where the server was read, unique on its host',
    `server_kind` LowCardinality(String) COMMENT 'Kind of inference server: vllm, triton, ...',
    `served_model` LowCardinality(String) COMMENT 'Model as the server names it, empty if it does not',
    `observed_ms` UInt32 COMMENT 'Part of the window that the figures cover, milliseconds' CODEC(T64, ZSTD(1)),
    `requests` UInt64 COMMENT 'Requests that ended, well or not' CODEC(T64, ZSTD(1)),
    `errors` UInt64 COMMENT 'Requests that failed; they are among those that ended' CODEC(T64, ZSTD(1)),
    `prompt_tokens` UInt64 COMMENT 'Tokens read' CODEC(T64, ZSTD(1)),
    `generated_tokens` UInt64 COMMENT 'Tokens generated' CODEC(T64, ZSTD(1)),
    `running_ms` UInt64 COMMENT 'Requests in work x time; by observed_ms their mean number, milliseconds' CODEC(T64, ZSTD(1)),
    `running_max` UInt32 COMMENT 'Requests in work at a time, at most' CODEC(T64, ZSTD(1)),
    `waiting_ms` UInt64 COMMENT 'Requests that waited x time; by observed_ms their mean number, milliseconds' CODEC(T64, ZSTD(1)),
    `waiting_max` UInt32 COMMENT 'Requests that waited at a time, at most' CODEC(T64, ZSTD(1)),
    `kv_cache_pct_mean` UInt8 COMMENT 'KV cache in use, mean, percent' CODEC(ZSTD(1)),
    `kv_cache_pct_max` UInt8 COMMENT 'KV cache in use, highest, percent' CODEC(ZSTD(1)),
    `latency_ms` UInt64 COMMENT 'Sum of all latencies, milliseconds' CODEC(T64, ZSTD(1)),
    `ttft_ms` UInt64 COMMENT 'Sum of all times to first token, milliseconds' CODEC(T64, ZSTD(1)),
    `latency_buckets` Array(Tuple(
        above_us UInt64,
        upto_us UInt64)) COMMENT 'Histogram of latency, from the arrival of a request to the end of its answer: the buckets that are not empty, each from above its lower edge to its upper edge, microseconds; 18446744073709551615: no limit' CODEC(ZSTD(1)),
    `latency_counts` Array(UInt64) COMMENT 'Requests in each of these buckets, not cumulative; empty: not offered, or none' CODEC(ZSTD(1)),
    `ttft_buckets` Array(Tuple(
        above_us UInt64,
        upto_us UInt64)) COMMENT 'Histogram of time to first token: the buckets that are not empty, each from above its lower edge to its upper edge, microseconds; 18446744073709551615: no limit' CODEC(ZSTD(1)),
    `ttft_counts` Array(UInt64) COMMENT 'Requests in each of these buckets, not cumulative; empty: not offered, or none' CODEC(ZSTD(1)),
    `offered` UInt16 COMMENT 'Which figures the server offers: 1 requests, 2 errors, 4 prompt tokens, 8 generated tokens, 16 running, 32 waiting, 64 KV cache; others are 0 and mean nothing' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
PRIMARY KEY (pool, toStartOfHour(ts), host)
ORDER BY (pool, toStartOfHour(ts), host, endpoint, workload, server, served_model, ts, cluster)
TTL toStartOfDay(ts) + toIntervalHour(337)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'Raw traffic windows of inference servers, before deduplication. Read endpoint_traffic instead.';

CREATE MATERIALIZED VIEW endpoint_traffic_touch TO touched_hours
(
    `hour` DateTime('UTC'),
    `touched_at` DateTime64(6, 'UTC')
)
AS SELECT DISTINCT
    toStartOfHour(ts) AS hour,
    now64(6, 'UTC') AS touched_at
FROM endpoint_traffic_raw;

CREATE TABLE finding_acks
(
    `id` String COMMENT 'Finding',
    `acked_at` DateTime64(6, 'UTC') COMMENT 'When this was said; the latest counts',
    `until` DateTime('UTC') COMMENT 'From when on the finding asks to be acted on again',
    `acked_by` String COMMENT 'Who answers for it',
    `reason` String COMMENT 'Why nothing is to be done until then'
)
ENGINE = MergeTree
ORDER BY (id, acked_at)
SETTINGS index_granularity = 8192
COMMENT 'Acknowledgements of findings, every one. Written by gpuledger findings ack.';

CREATE TABLE finding_versions
(
    `rule` LowCardinality(String) COMMENT 'Rule that found it',
    `subject` String COMMENT 'What it is about; with the rule, the identity of the finding',
    `first_seen` DateTime('UTC') COMMENT 'When the rule first found it; a finding that comes back begins anew',
    `evaluated_at` DateTime64(6, 'UTC') COMMENT 'Begin of the evaluation that says so: the latest counts',
    `id` String MATERIALIZED lower(hex(cityHash64(rule, subject))) COMMENT 'Short name of rule and subject',
    `severity` Enum8('info' = 1, 'warning' = 2, 'critical' = 3) COMMENT 'How urgent',
    `team` LowCardinality(String) COMMENT 'Team that can act on it; empty: whoever runs the fleet',
    `pool` LowCardinality(String) COMMENT 'Pool that it concerns; empty: none, or more than one',
    `usd` Nullable(Float64) COMMENT 'Money at stake in a week at the present rate, USD; NULL: no price known, or none at stake',
    `evidence` Map(LowCardinality(String), String) COMMENT 'Figures that the verdict rests on, by name',
    `last_seen` DateTime('UTC') COMMENT 'When the rule last found it',
    `resolved_at` Nullable(DateTime('UTC')) COMMENT 'When the rule first found it no more; NULL: open'
)
ENGINE = ReplacingMergeTree(evaluated_at)
ORDER BY (rule, subject, first_seen)
SETTINGS index_granularity = 8192
COMMENT 'Verdicts of rules, before deduplication. Read findings instead. Written by collectors and gpuledger findings evaluate.';

CREATE VIEW findings
(
    `id` String COMMENT 'Short name of rule and subject; the same each time it comes back',
    `rule` LowCardinality(String) COMMENT 'Rule that found it, see docs/findings.md',
    `subject` String COMMENT 'What it is about',
    `severity` Enum8('info' = 1, 'warning' = 2, 'critical' = 3) COMMENT 'How urgent',
    `team` LowCardinality(String) COMMENT 'Team that can act on it; empty: whoever runs the fleet',
    `pool` LowCardinality(String) COMMENT 'Pool that it concerns; empty: none, or more than one',
    `usd` Nullable(Float64) COMMENT 'Money at stake in a week at the present rate, USD; NULL: no price known, or none at stake',
    `evidence` Map(LowCardinality(String), String) COMMENT 'Figures that the verdict rests on, by name',
    `first_seen` DateTime('UTC') COMMENT 'When the rule first found it; a finding that comes back begins anew',
    `last_seen` DateTime('UTC') COMMENT 'When the rule last found it',
    `resolved_at` Nullable(DateTime('UTC')) COMMENT 'When the rule first found it no more; NULL: open',
    `state` LowCardinality(String) COMMENT 'open: act on it. acknowledged: open, and somebody said why nothing is to be done yet. resolved: its cause is gone',
    `acked_until` Nullable(DateTime('UTC')) COMMENT 'Until when it is, or was, acknowledged; NULL: never was',
    `acked_by` String COMMENT 'Who acknowledged it last; empty: nobody',
    `ack_reason` String COMMENT 'Why'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Everything that rules have found, resolved findings included: one row each time that a finding came up.'
AS WITH
    acks AS
    (
        SELECT
            id,
            argMax(tuple(until, acked_by, reason), acked_at) AS latest
        FROM finding_acks
        GROUP BY id
    )
SELECT
    f.id AS id,
    f.rule AS rule,
    f.subject AS subject,
    f.severity AS severity,
    f.team AS team,
    f.pool AS pool,
    f.usd AS usd,
    f.evidence AS evidence,
    f.first_seen AS first_seen,
    f.last_seen AS last_seen,
    f.resolved_at AS resolved_at,
    multiIf(f.resolved_at IS NOT NULL, 'resolved', (a.latest.1) > now(), 'acknowledged', 'open') AS state,
    if(a.id = '', NULL, a.latest.1) AS acked_until,
    a.latest.2 AS acked_by,
    a.latest.3 AS ack_reason
FROM
(
    SELECT
        id,
        rule,
        subject,
        severity,
        team,
        pool,
        usd,
        evidence,
        first_seen,
        last_seen,
        resolved_at
    FROM finding_versions
    FINAL
    ORDER BY first_seen ASC
    LIMIT 1 BY
        rule,
        subject,
        if(resolved_at IS NULL, toDateTime(0, 'UTC'), first_seen)
) AS f
LEFT JOIN acks AS a ON a.id = f.id;

CREATE TABLE fleet_seen
(
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `observed_ms` UInt64 COMMENT 'A weight: time observed, milliseconds of a whole GPU, some of it counted more than once',
    `mem_total_mib_ms` UInt64 COMMENT 'GPU memory x the same time, MiB x milliseconds; by observed_ms the memory of a whole GPU; 0 if unknown'
)
ENGINE = SummingMergeTree
ORDER BY (host_pool, gpu_model, cluster)
SETTINGS index_granularity = 8192
COMMENT 'Every cluster, pool and GPU model there was, in any version of any hour. Rows of the same add up.';

CREATE VIEW gpu_allocation
(
    `ts` DateTime('UTC') COMMENT 'Start of the window',
    `window_s` UInt16 COMMENT 'Length of the window, seconds',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host that reported the row',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    `gpu` LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload says it belongs to',
    `workload_kind` LowCardinality(String) COMMENT 'process, container, pod, slurm_job or unit',
    `workload` LowCardinality(String) COMMENT 'Name of the workload, unique on its host',
    `owner_source` LowCardinality(String) COMMENT 'Resolver that named the owner, empty if none could',
    `grant_source` LowCardinality(String) COMMENT 'Who granted the GPU',
    `granted_ms` UInt32 COMMENT 'Time the grant covered, divided among those granted the same GPU, milliseconds of a whole GPU',
    `unheld_ms` UInt32 COMMENT 'Part of the time the GPU was not held that falls to this grant, milliseconds of a whole GPU',
    `share_milli` UInt16 COMMENT 'Part of the GPU or MIG instance that was granted, thousandths; 0: not told'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'One row per window, GPU and workload that was granted it.'
AS SELECT
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
FROM gpu_allocation_raw AS raw
FINAL;

CREATE TABLE gpu_allocation_raw
(
    `ts` DateTime('UTC') COMMENT 'Start of the window' CODEC(DoubleDelta, ZSTD(1)),
    `window_s` UInt16 COMMENT 'Length of the window, seconds' CODEC(ZSTD(1)),
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host that reported the row',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    `gpu` LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload says it belongs to',
    `workload_kind` LowCardinality(String) COMMENT 'process, container, pod, slurm_job or unit',
    `workload` LowCardinality(String) COMMENT 'Name of the workload, unique on its host',
    `owner_source` LowCardinality(String) COMMENT 'Resolver that named the owner, empty if none could',
    `grant_source` LowCardinality(String) COMMENT 'Who granted the GPU',
    `granted_ms` UInt32 COMMENT 'Time the grant covered, divided among those granted the same GPU, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `unheld_ms` UInt32 COMMENT 'Part of the time the GPU was not held that falls to this grant, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `share_milli` UInt16 COMMENT 'Part of the GPU or MIG instance that was granted, thousandths; 0: not told' CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
PRIMARY KEY (pool, toStartOfHour(ts), host, gpu)
ORDER BY (pool, toStartOfHour(ts), host, gpu, workload_kind, workload, grant_source, ts, cluster)
TTL toStartOfDay(ts) + toIntervalHour(337)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'Raw windows per GPU and workload that was granted it, before deduplication. Read gpu_allocation instead.';

CREATE MATERIALIZED VIEW gpu_allocation_touch TO touched_hours
(
    `hour` DateTime('UTC'),
    `touched_at` DateTime64(6, 'UTC')
)
AS SELECT DISTINCT
    toStartOfHour(ts) AS hour,
    now64(6, 'UTC') AS touched_at
FROM gpu_allocation_raw;

CREATE VIEW gpu_price_list
(
    `prices` Array(Tuple(
        gpu_model String,
        pool String,
        priced_from DateTime('UTC'),
        usd_per_gpu_hour Nullable(Float64))) COMMENT 'Prices, the most specific first: part of the GPU model name in lower case, pool of the GPUs (both empty: any), from when on, USD for one GPU for one hour'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'One row: all prices in the order in which they are tried.'
AS SELECT arrayMap(ranked -> (ranked.2), arrayReverseSort(ranked -> (ranked.1), groupArray(((length(p.gpu_model), p.pool != '', p.priced_from, p.applied_at), (lowerUTF8(p.gpu_model), toString(p.pool), p.priced_from, toNullable(toFloat64(p.usd_per_gpu_hour))))))) AS prices
FROM gpu_prices AS p;

CREATE TABLE gpu_prices
(
    `gpu_model` LowCardinality(String) COMMENT 'Part of the GPU model name, without regard to case; empty: any',
    `pool` LowCardinality(String) COMMENT 'Pool that the price is for; empty: any',
    `priced_from` DateTime('UTC') COMMENT 'From when on',
    `usd_per_gpu_hour` Decimal(12, 6) COMMENT 'Price of one GPU for one hour, USD',
    `applied_at` DateTime64(6, 'UTC') COMMENT 'When this version was applied; the latest of the same model, pool and start counts'
)
ENGINE = MergeTree
ORDER BY (gpu_model, pool, priced_from, applied_at)
SETTINGS index_granularity = 8192
COMMENT 'Prices of GPU time, every version that was applied. Written by gpuledger prices apply.';

CREATE VIEW gpu_usage
(
    `ts` DateTime('UTC') COMMENT 'Start of the window',
    `window_s` UInt16 COMMENT 'Length of the window, seconds',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host that reported the row',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    `gpu` LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `gpu_index` UInt16 COMMENT 'Ordinal of the physical GPU on its host',
    `observed_ms` UInt32 COMMENT 'Time the agent watched the GPU, milliseconds of a whole GPU',
    `unallocated_ms` UInt32 COMMENT 'Observed time in which nobody held the GPU or was granted it, milliseconds of a whole GPU',
    `sm_busy_ms` Nullable(UInt32) COMMENT 'Time the SMs were busy, milliseconds of a whole GPU; NULL: unknown',
    `sm_pct_max` Nullable(UInt8) COMMENT 'Highest SM use sampled, percent; NULL: unknown',
    `sm_source` Enum8('unspecified' = 0, 'process' = 1, 'device' = 2, 'apportioned' = 3, 'gpm' = 4, 'unknown' = 5) COMMENT 'Where the SM figures come from',
    `mem_mib_mean` Nullable(UInt32) COMMENT 'GPU memory in use, mean, MiB; NULL: not offered',
    `mem_mib_max` Nullable(UInt32) COMMENT 'GPU memory in use, highest, MiB; NULL: not offered',
    `mem_total_mib` Nullable(UInt32) COMMENT 'GPU memory there is, MiB; NULL: not offered',
    `power_w_mean` Nullable(UInt16) COMMENT 'Power, mean, watts; NULL: not offered',
    `power_w_max` Nullable(UInt16) COMMENT 'Power, highest, watts; NULL: not offered',
    `temperature_c_max` Nullable(UInt16) COMMENT 'Temperature, highest, degrees Celsius; NULL: not offered',
    `sm_clock_mhz_mean` Nullable(UInt16) COMMENT 'SM clock, mean, MHz; NULL: not offered',
    `tensor_pct_mean` Nullable(UInt8) COMMENT 'Tensor core activity, mean, percent; NULL: not offered',
    `dram_pct_mean` Nullable(UInt8) COMMENT 'Memory bandwidth in use, mean, percent; NULL: not offered',
    `ecc_uncorrected` Nullable(UInt32) COMMENT 'Volatile uncorrected ECC errors since the driver was loaded; NULL: not offered',
    `xid` UInt16 COMMENT 'Latest Xid in the window, 0 if none'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'One row per window and GPU (or MIG instance).'
AS SELECT
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
FROM gpu_usage_raw AS raw
FINAL;

CREATE TABLE gpu_usage_raw
(
    `ts` DateTime('UTC') COMMENT 'Start of the window' CODEC(DoubleDelta, ZSTD(1)),
    `window_s` UInt16 COMMENT 'Length of the window, seconds' CODEC(ZSTD(1)),
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host that reported the row',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    `gpu` LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `gpu_index` UInt16 COMMENT 'Ordinal of the physical GPU on its host' CODEC(ZSTD(1)),
    `observed_ms` UInt32 COMMENT 'Time the agent watched the GPU, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `unallocated_ms` UInt32 COMMENT 'Observed time in which nobody held the GPU or was granted it, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `sm_busy_ms` UInt32 COMMENT 'Time the SMs were busy, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `sm_pct_max` UInt8 COMMENT 'Highest SM use sampled, percent' CODEC(ZSTD(1)),
    `sm_source` Enum8('unspecified' = 0, 'process' = 1, 'device' = 2, 'apportioned' = 3, 'gpm' = 4, 'unknown' = 5) COMMENT 'Where the SM figures come from; unknown: they are 0 and mean nothing',
    `mem_mib_mean` UInt32 COMMENT 'GPU memory in use, mean, MiB' CODEC(T64, ZSTD(1)),
    `mem_mib_max` UInt32 COMMENT 'GPU memory in use, highest, MiB' CODEC(T64, ZSTD(1)),
    `mem_total_mib` UInt32 COMMENT 'GPU memory there is, MiB' CODEC(T64, ZSTD(1)),
    `power_w_mean` UInt16 COMMENT 'Power, mean, watts' CODEC(T64, ZSTD(1)),
    `power_w_max` UInt16 COMMENT 'Power, highest, watts' CODEC(T64, ZSTD(1)),
    `temperature_c_max` UInt16 COMMENT 'Temperature, highest, degrees Celsius' CODEC(T64, ZSTD(1)),
    `sm_clock_mhz_mean` UInt16 COMMENT 'SM clock, mean, MHz' CODEC(T64, ZSTD(1)),
    `tensor_pct_mean` UInt8 COMMENT 'Tensor core activity, mean, percent' CODEC(ZSTD(1)),
    `dram_pct_mean` UInt8 COMMENT 'Memory bandwidth in use, mean, percent' CODEC(ZSTD(1)),
    `ecc_uncorrected` UInt32 COMMENT 'Volatile uncorrected ECC errors since the driver was loaded' CODEC(T64, ZSTD(1)),
    `xid` UInt16 COMMENT 'Latest Xid in the window, 0 if none' CODEC(ZSTD(1)),
    `offered` UInt16 COMMENT 'Which gauges the GPU offers: 1 memory, 2 power, 4 temperature, 8 clock, 16 GPM, 32 ECC; others are 0 and mean nothing' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
PRIMARY KEY (host_pool, toStartOfHour(ts), host, gpu)
ORDER BY (host_pool, toStartOfHour(ts), host, gpu, ts, cluster)
TTL toStartOfDay(ts) + toIntervalHour(337)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'Raw windows per GPU, before deduplication. Read gpu_usage instead.';

CREATE MATERIALIZED VIEW gpu_usage_touch TO touched_hours
(
    `hour` DateTime('UTC'),
    `touched_at` DateTime64(6, 'UTC')
)
AS SELECT DISTINCT
    toStartOfHour(ts) AS hour,
    now64(6, 'UTC') AS touched_at
FROM gpu_usage_raw;

CREATE VIEW gpus
(
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` String COMMENT 'Host that the GPU is in',
    `gpu` String COMMENT 'UUID of the GPU or MIG instance',
    `gpu_index` UInt16 COMMENT 'Ordinal of the physical GPU on its host',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `memory_mib` Nullable(UInt32) COMMENT 'Memory, MiB; NULL: not offered',
    `parent_gpu` String COMMENT 'UUID of the physical GPU that a MIG instance is cut from, else empty',
    `share_milli` UInt16 COMMENT 'Share of a physical GPU, thousandths',
    `mig_profile` LowCardinality(String) COMMENT 'MIG profile as NVML names it, else empty',
    `seen_at` DateTime64(3, 'UTC') COMMENT 'When its host last reported it'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'One row per GPU or MIG instance ever seen.'
AS SELECT
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
FROM gpus_raw AS raw
FINAL;

CREATE TABLE gpus_raw
(
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` String COMMENT 'Host that the GPU is in',
    `gpu` String COMMENT 'UUID of the GPU or MIG instance',
    `gpu_index` UInt16 COMMENT 'Ordinal of the physical GPU on its host',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `memory_mib` UInt32 COMMENT 'Memory, MiB; 0 if the driver does not say',
    `parent_gpu` String COMMENT 'UUID of the physical GPU that a MIG instance is cut from, else empty',
    `share_milli` UInt16 COMMENT 'Share of a physical GPU, thousandths',
    `mig_profile` LowCardinality(String) COMMENT 'MIG profile as NVML names it, else empty',
    `seen_at` DateTime64(3, 'UTC') COMMENT 'When its host last reported it'
)
ENGINE = ReplacingMergeTree(seen_at)
ORDER BY (cluster, host, gpu)
SETTINGS index_granularity = 8192
COMMENT 'GPUs and MIG instances, every version. Read gpus instead.';

CREATE VIEW hosts
(
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` String COMMENT 'Name of the host',
    `host_pool` LowCardinality(String) COMMENT 'Pool that its GPUs belong to',
    `agent_version` LowCardinality(String) COMMENT 'Version of the agent',
    `boot_id` String COMMENT 'Id of the present boot',
    `driver_version` LowCardinality(String) COMMENT 'Driver version, empty while no driver answers',
    `labels` Map(LowCardinality(String), String) COMMENT 'Further labels of the host, as configured',
    `seen_at` DateTime64(3, 'UTC') COMMENT 'When the host last introduced itself'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'One row per host, as it last introduced itself.'
AS SELECT
    cluster,
    host,
    host_pool,
    agent_version,
    boot_id,
    driver_version,
    labels,
    seen_at
FROM hosts_raw AS raw
FINAL;

CREATE TABLE hosts_raw
(
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` String COMMENT 'Name of the host',
    `host_pool` LowCardinality(String) COMMENT 'Pool that its GPUs belong to',
    `agent_version` LowCardinality(String) COMMENT 'Version of the agent',
    `boot_id` String COMMENT 'Id of the present boot',
    `driver_version` LowCardinality(String) COMMENT 'Driver version, empty while no driver answers',
    `labels` Map(LowCardinality(String), String) COMMENT 'Further labels of the host, as configured',
    `seen_at` DateTime64(3, 'UTC') COMMENT 'When the host last introduced itself'
)
ENGINE = ReplacingMergeTree(seen_at)
ORDER BY (cluster, host)
SETTINGS index_granularity = 8192
COMMENT 'Hosts, every version. Read hosts instead.';

CREATE VIEW idle_allocations
(
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host',
    `gpu` LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `workload_kind` LowCardinality(String) COMMENT 'process, container, pod, slurm_job or unit',
    `workload` String COMMENT 'Name of the workload, unique on its host',
    `team` LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    `model` LowCardinality(String) COMMENT 'Model; empty: not said',
    `endpoint` LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `allocated_since` DateTime('UTC') COMMENT 'First seen on this GPU, in the last 30 days',
    `idle_since` DateTime('UTC') COMMENT 'End of its last work, or allocated_since if it never worked',
    `idle_hours` Float64 COMMENT 'Hours since then',
    `idle_gpu_hours` Float64 COMMENT 'Its idle time since then; less than idle_hours where it shares the GPU, GPU-hours',
    `idle_usd` Nullable(Float64) COMMENT 'Price of idle_gpu_hours, USD; NULL: no price known',
    `ever_worked` Bool COMMENT 'Whether it had SM time on this GPU in the last 30 days',
    `mem_mib_max` UInt32 COMMENT 'Most memory of one of its processes, MiB'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Workloads that hold or were granted GPUs now and do not work on them.'
AS WITH
    (
        SELECT prices
        FROM gpu_price_list
    ) AS prices,
    (
        SELECT max(c.last_seen)
        FROM capacity_hourly AS c
    ) AS newest,
    idle_now AS
    (
        SELECT DISTINCT gpu
        FROM workload_hourly AS w
        WHERE (w.hour >= toStartOfHour(newest - toIntervalHour(1))) AND (w.last_worked < w.last_seen)
    ),
    workloads AS
    (
        SELECT
            cluster,
            host,
            gpu,
            gpu_model,
            workload_kind,
            workload,
            team,
            model,
            endpoint,
            pool,
            any(w.host_pool) AS host_pool,
            min(w.first_seen) AS first_seen,
            max(w.last_seen) AS last_seen,
            max(w.last_worked) AS last_worked,
            max(w.mem_mib_max) AS mem_max,
            groupArray((w.hour, w.idle_after_work_ms, w.last_seen)) AS hours
        FROM workload_hourly AS w
        WHERE (w.hour >= (newest - toIntervalDay(30))) AND (w.gpu IN (
            SELECT gpu
            FROM idle_now
        ))
        GROUP BY
            cluster,
            host,
            gpu,
            gpu_model,
            workload_kind,
            workload,
            team,
            model,
            endpoint,
            pool
    )
SELECT
    w.cluster AS cluster,
    w.host AS host,
    w.gpu AS gpu,
    w.gpu_model AS gpu_model,
    w.workload_kind AS workload_kind,
    w.workload AS workload,
    if(w.team = '', 'unattributed', w.team) AS team,
    w.model AS model,
    w.endpoint AS endpoint,
    w.pool AS pool,
    w.first_seen AS allocated_since,
    greatest(w.first_seen, w.last_worked) AS idle_since,
    dateDiff('second', idle_since, w.last_seen) / 3600 AS idle_hours,
    arraySum(arrayMap(h -> if((h.3) > idle_since, h.2, 0), w.hours)) / 3600000 AS idle_gpu_hours,
    idle_gpu_hours * tupleElement(arrayFirst(price -> ((price.priced_from <= newest) AND (price.pool IN ('', w.host_pool)) AND ((price.gpu_model = '') OR (position(lowerUTF8(w.gpu_model), price.gpu_model) > 0))), prices), 'usd_per_gpu_hour') AS idle_usd,
    w.last_worked >= w.first_seen AS ever_worked,
    w.mem_max AS mem_mib_max
FROM workloads AS w
WHERE (w.last_seen >= (newest - toIntervalMinute(5))) AND (w.last_seen > idle_since);

CREATE TABLE isolation_hourly_versions
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour' CODEC(DoubleDelta, ZSTD(1)),
    `computed_at` DateTime64(6, 'UTC') COMMENT 'Version of the hour' CODEC(DoubleDelta, ZSTD(1)),
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host',
    `gpu` LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance that the foreign work was on',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    `shares` LowCardinality(String) COMMENT 'gpu, host or nothing; see isolation_violations',
    `pools` Array(LowCardinality(String)) COMMENT 'Pools of the foreign work',
    `teams` Array(LowCardinality(String)) COMMENT 'Teams of the foreign work',
    `workloads` Array(String) COMMENT 'The foreign work, 10 at most',
    `foreign_gpu_hours` Float64 COMMENT 'Allocated to work of pools other than host_pool, GPU-hours'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, computed_at, cluster, host, gpu, gpu_model, host_pool)
TTL toStartOfDay(hour) + toIntervalHour(9673)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'Work of one pool on the hardware of another, by hour and GPU, all versions. Read isolation_violations instead.';

CREATE VIEW isolation_violations
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host',
    `gpu` LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance that the foreign work was on',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    `shares` LowCardinality(String) COMMENT 'gpu: with work of another pool on the same GPU in this hour. host: with work of another pool on the same host. nothing: alone on hardware of another pool',
    `pools` Array(LowCardinality(String)) COMMENT 'Pools of the foreign work',
    `teams` Array(LowCardinality(String)) COMMENT 'Teams of the foreign work',
    `workloads` Array(String) COMMENT 'The foreign work, 10 at most',
    `foreign_gpu_hours` Float64 COMMENT 'Allocated to work of pools other than host_pool, GPU-hours'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Work of one pool on the hardware of another, by hour and GPU.'
AS SELECT
    hour,
    cluster,
    host,
    gpu,
    gpu_model,
    host_pool,
    shares,
    pools,
    teams,
    workloads,
    foreign_gpu_hours
FROM isolation_hourly_versions
FINAL
WHERE (hour >= (
    SELECT hourly_from
    FROM kept_from
)) AND ((hour, computed_at) IN (
    SELECT
        hour,
        argMax(computed_at, rolled_at)
    FROM rolled_hours
    GROUP BY hour
));

CREATE VIEW kept_from
(
    `raw_from` DateTime('UTC') COMMENT 'Start of the first day of which all windows are kept; 1970-01-01: since ever',
    `hourly_from` DateTime('UTC') COMMENT 'Start of the first day that is kept by the hour, older ones only by the day; 1970-01-01: since ever'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'One row: what of the past is still there in full.'
AS WITH
    toDateTime(0, 'UTC') AS ever,
    toStartOfDay(now('UTC')) AS today,
    argMaxIf(r.days, r.applied_at, r.kind = 'raw') AS raw_days,
    argMaxIf(r.days, r.applied_at, r.kind = 'hourly') AS hourly_days
SELECT
    greatest(maxIf(r.whole_from, r.kind = 'raw'), if(raw_days = 0, ever, today - toIntervalDay(raw_days - 1))) AS raw_from,
    greatest(maxIf(r.whole_from, r.kind = 'hourly'), if(hourly_days = 0, ever, today - toIntervalDay(hourly_days - 1))) AS hourly_from
FROM retention AS r;

CREATE VIEW ledger_balance
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `pool` LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `capacity_gpu_hours` Float64 COMMENT 'Observed by telemetry, GPU-hours',
    `unallocated_gpu_hours` Float64 COMMENT 'Neither held nor granted, GPU-hours',
    `idle_gpu_hours` Float64 COMMENT 'Allocated in windows without SM time, GPU-hours',
    `underused_gpu_hours` Float64 COMMENT 'Active and not busy, GPU-hours',
    `busy_gpu_hours` Float64 COMMENT 'SMs busy, GPU-hours',
    `unmeasured_gpu_hours` Float64 COMMENT 'Held, and nobody can say whether the SMs were busy, GPU-hours',
    `difference_gpu_hours` Float64 COMMENT 'Capacity less all the others: 0, or rows are missing or still on their way, GPU-hours',
    `unobserved_gpu_hours` Float64 COMMENT 'Not part of the capacity: GPUs of hosts that were there and whose agents did not measure or lost what they had, GPU-hours',
    `settled` Bool COMMENT 'Whether no rows of the hour came in the minute before it was last computed: then a difference is no row on its way'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Capacity against the sum of the books, by hour, pool of the GPUs and GPU model.'
AS WITH
    settled_hours AS
    (
        SELECT hour
        FROM
        (
            SELECT
                hour,
                max(touched_at) AS touched_at
            FROM touched_hours
            GROUP BY hour
        ) AS t
        INNER JOIN
        (
            SELECT
                hour,
                max(rolled_at) AS rolled_at
            FROM rolled_hours
            GROUP BY hour
        ) AS r ON r.hour = t.hour
        WHERE r.rolled_at >= (t.touched_at + toIntervalMinute(1))
    ),
    gap_hours AS
    (
        SELECT
            cluster,
            host,
            arrayJoin(arrayMap(n -> (toStartOfHour(gap.ts) + (3600 * n)), range(dateDiff('hour', toStartOfHour(gap.ts), gap.ts + gap.gap_s) + 1))) AS hour,
            min(gap.ts) AS since,
            intervalLengthSum(toUnixTimestamp(greatest(gap.ts, hour)), toUnixTimestamp(least(gap.ts + gap.gap_s, hour + 3600))) AS seconds
        FROM telemetry_gaps AS gap
        WHERE gap.ts >= (
            SELECT hourly_from
            FROM kept_from
        )
        GROUP BY
            cluster,
            host,
            hour
    ),
    sides AS
    (
        SELECT
            hour,
            cluster,
            host_pool,
            gpu_model,
            toInt64(observed_ms) AS capacity,
            toInt64(unallocated_ms) AS unallocated,
            toInt64(0) AS idle,
            toInt64(0) AS underused,
            toInt64(0) AS busy,
            toInt64(0) AS unmeasured,
            toInt64(0) AS unobserved
        FROM capacity_hourly
        UNION ALL
        SELECT
            hour,
            cluster,
            host_pool,
            gpu_model,
            0,
            0,
            (toInt64(held_ms + unheld_ms) - toInt64(active_ms)) - toInt64(unmeasured_ms),
            toInt64(active_ms) - toInt64(busy_ms),
            toInt64(busy_ms),
            toInt64(unmeasured_ms),
            0
        FROM usage_hourly
        UNION ALL
        SELECT
            missing.hour,
            missing.cluster,
            hosts.host_pool,
            gpus.gpu_model,
            0,
            0,
            0,
            0,
            0,
            0,
            toInt64(missing.seconds) * gpus.share_milli
        FROM gap_hours AS missing
        INNER JOIN gpus ON (gpus.cluster = missing.cluster) AND (gpus.host = missing.host)
        INNER JOIN hosts ON (hosts.cluster = missing.cluster) AND (hosts.host = missing.host)
        WHERE gpus.seen_at >= missing.since
    )
SELECT
    s.hour AS hour,
    s.cluster AS cluster,
    s.host_pool AS pool,
    s.gpu_model AS gpu_model,
    sum(s.capacity) / 3600000 AS capacity_gpu_hours,
    sum(s.unallocated) / 3600000 AS unallocated_gpu_hours,
    sum(s.idle) / 3600000 AS idle_gpu_hours,
    sum(s.underused) / 3600000 AS underused_gpu_hours,
    sum(s.busy) / 3600000 AS busy_gpu_hours,
    sum(s.unmeasured) / 3600000 AS unmeasured_gpu_hours,
    sum(((((s.capacity - s.unallocated) - s.idle) - s.underused) - s.busy) - s.unmeasured) / 3600000 AS difference_gpu_hours,
    sum(s.unobserved) / 3600000 AS unobserved_gpu_hours,
    hour IN (
        SELECT hour
        FROM settled_hours
    ) AS settled
FROM sides AS s
GROUP BY
    hour,
    cluster,
    pool,
    gpu_model;

CREATE VIEW ledger_daily
(
    `day` Date COMMENT 'Day, UTC',
    `cluster` LowCardinality(String) COMMENT 'Cluster; empty for requests that more than one cluster could serve',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload or request belongs to',
    `team` LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    `model` LowCardinality(String) COMMENT 'Model; empty: not said, or any',
    `endpoint` LowCardinality(String) COMMENT 'Endpoint; empty: not said, or any',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it; as in the request where several fit',
    `requested_gpu_hours` Float64 COMMENT 'Asked for by approved requests, GPU-hours',
    `allocated_gpu_hours` Float64 COMMENT 'Held, or granted without a process, GPU-hours',
    `held_gpu_hours` Float64 COMMENT 'A process was there, GPU-hours',
    `active_gpu_hours` Float64 COMMENT 'Held in windows with SM time, GPU-hours',
    `busy_gpu_hours` Float64 COMMENT 'SMs busy, GPU-hours',
    `unmeasured_gpu_hours` Float64 COMMENT 'Held, and nobody can say whether the SMs were busy; nobody\'s waste, GPU-hours',
    `unclaimed_gpu_hours` Float64 COMMENT 'Waste: requested and not allocated, GPU-hours',
    `idle_gpu_hours` Float64 COMMENT 'Waste: allocated in windows without SM time, GPU-hours',
    `underused_gpu_hours` Float64 COMMENT 'Waste: active and not busy, GPU-hours',
    `waste_gpu_hours` Float64 COMMENT 'Unclaimed + idle + underused, GPU-hours',
    `allocated_usd` Nullable(Float64) COMMENT 'Price of what was allocated, USD; NULL: no price known',
    `waste_usd` Nullable(Float64) COMMENT 'Price of the waste, USD; NULL: no price known, then see unpriced_waste_gpu_hours',
    `unpriced_waste_gpu_hours` Float64 COMMENT 'Waste that waste_usd leaves out because no price is known, GPU-hours',
    `requested_gib_hours` Float64 COMMENT 'Memory of the requested GPUs, GiB-hours; 0 where the GPU model is not known',
    `allocated_gib_hours` Float64 COMMENT 'Memory of the allocated GPUs, GiB-hours',
    `used_gib_hours` Float64 COMMENT 'Memory that processes used, GiB-hours'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'The ledger: requested against held and used, by day and owner. Units are in the column names; see docs/books.md.'
AS SELECT
    toDate(l.hour) AS day,
    cluster,
    pool,
    team,
    model,
    endpoint,
    gpu_model,
    sum(l.requested_gpu_hours) AS requested_gpu_hours,
    sum(l.allocated_gpu_hours) AS allocated_gpu_hours,
    sum(l.held_gpu_hours) AS held_gpu_hours,
    sum(l.active_gpu_hours) AS active_gpu_hours,
    sum(l.busy_gpu_hours) AS busy_gpu_hours,
    sum(l.unmeasured_gpu_hours) AS unmeasured_gpu_hours,
    sum(l.unclaimed_gpu_hours) AS unclaimed_gpu_hours,
    sum(l.idle_gpu_hours) AS idle_gpu_hours,
    sum(l.underused_gpu_hours) AS underused_gpu_hours,
    sum(l.waste_gpu_hours) AS waste_gpu_hours,
    sum(l.allocated_usd) AS allocated_usd,
    sum(l.waste_usd) AS waste_usd,
    sum(l.unpriced_waste_gpu_hours) AS unpriced_waste_gpu_hours,
    sum(l.requested_gib_hours) AS requested_gib_hours,
    sum(l.allocated_gib_hours) AS allocated_gib_hours,
    sum(l.used_gib_hours) AS used_gib_hours
FROM ledger_hourly AS l
WHERE l.hour >= toDateTime((
    SELECT ledger_from
    FROM read_by_hour
), 'UTC')
GROUP BY
    day,
    cluster,
    pool,
    team,
    model,
    endpoint,
    gpu_model
UNION ALL
SELECT
    day,
    cluster,
    pool,
    team,
    model,
    endpoint,
    gpu_model,
    requested_gpu_hours,
    allocated_gpu_hours,
    held_gpu_hours,
    active_gpu_hours,
    busy_gpu_hours,
    unmeasured_gpu_hours,
    unclaimed_gpu_hours,
    idle_gpu_hours,
    underused_gpu_hours,
    waste_gpu_hours,
    allocated_usd,
    waste_usd,
    unpriced_waste_gpu_hours,
    requested_gib_hours,
    allocated_gib_hours,
    used_gib_hours
FROM ledger_daily_versions
FINAL
WHERE (day < (
    SELECT ledger_from
    FROM read_by_hour
)) AND ((day, computed_at) IN (
    SELECT
        day,
        max(computed_at)
    FROM rolled_days
    GROUP BY day
));

CREATE TABLE ledger_daily_versions
(
    `day` Date COMMENT 'Day, UTC' CODEC(DoubleDelta, ZSTD(1)),
    `computed_at` DateTime64(6, 'UTC') COMMENT 'Version of the day' CODEC(DoubleDelta, ZSTD(1)),
    `cluster` LowCardinality(String) COMMENT 'Cluster; empty for requests that more than one cluster could serve',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload or request belongs to',
    `team` LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    `model` LowCardinality(String) COMMENT 'Model; empty: not said, or any',
    `endpoint` LowCardinality(String) COMMENT 'Endpoint; empty: not said, or any',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it; as in the request where several fit',
    `requested_gpu_hours` Float64 COMMENT 'Asked for by approved requests, GPU-hours' CODEC(ZSTD(1)),
    `allocated_gpu_hours` Float64 COMMENT 'Held, or granted without a process, GPU-hours' CODEC(ZSTD(1)),
    `held_gpu_hours` Float64 COMMENT 'A process was there, GPU-hours' CODEC(ZSTD(1)),
    `active_gpu_hours` Float64 COMMENT 'Held in windows with SM time, GPU-hours' CODEC(ZSTD(1)),
    `busy_gpu_hours` Float64 COMMENT 'SMs busy, GPU-hours' CODEC(ZSTD(1)),
    `unmeasured_gpu_hours` Float64 COMMENT 'Held, and nobody can say whether the SMs were busy; nobody\'s waste, GPU-hours' CODEC(ZSTD(1)),
    `unclaimed_gpu_hours` Float64 COMMENT 'Waste: requested and not allocated, GPU-hours' CODEC(ZSTD(1)),
    `idle_gpu_hours` Float64 COMMENT 'Waste: allocated in windows without SM time, GPU-hours' CODEC(ZSTD(1)),
    `underused_gpu_hours` Float64 COMMENT 'Waste: active and not busy, GPU-hours' CODEC(ZSTD(1)),
    `waste_gpu_hours` Float64 COMMENT 'Unclaimed + idle + underused, GPU-hours' CODEC(ZSTD(1)),
    `allocated_usd` Nullable(Float64) COMMENT 'Price of what was allocated, USD; NULL: no price known' CODEC(ZSTD(1)),
    `waste_usd` Nullable(Float64) COMMENT 'Price of the waste, USD; NULL: no price known, then see unpriced_waste_gpu_hours' CODEC(ZSTD(1)),
    `unpriced_waste_gpu_hours` Float64 COMMENT 'Waste that waste_usd leaves out because no price is known, GPU-hours' CODEC(ZSTD(1)),
    `requested_gib_hours` Float64 COMMENT 'Memory of the requested GPUs, GiB-hours; 0 where the GPU model is not known' CODEC(ZSTD(1)),
    `allocated_gib_hours` Float64 COMMENT 'Memory of the allocated GPUs, GiB-hours' CODEC(ZSTD(1)),
    `used_gib_hours` Float64 COMMENT 'Memory that processes used, GiB-hours' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, computed_at, pool, team, model, endpoint, gpu_model, cluster)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'The ledger by day, with the requests and prices that counted then, all versions. Read ledger_daily instead.';

CREATE VIEW ledger_hourly
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour',
    `cluster` LowCardinality(String) COMMENT 'Cluster; empty for requests that more than one cluster could serve',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload or request belongs to',
    `team` LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    `model` LowCardinality(String) COMMENT 'Model; empty: not said, or any',
    `endpoint` LowCardinality(String) COMMENT 'Endpoint; empty: not said, or any',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it; as in the request where several fit',
    `requested_gpu_hours` Float64 COMMENT 'Asked for by approved requests, GPU-hours',
    `allocated_gpu_hours` Float64 COMMENT 'Held, or granted without a process, GPU-hours',
    `held_gpu_hours` Float64 COMMENT 'A process was there, GPU-hours',
    `active_gpu_hours` Float64 COMMENT 'Held in windows with SM time, GPU-hours',
    `busy_gpu_hours` Float64 COMMENT 'SMs busy, GPU-hours',
    `unmeasured_gpu_hours` Float64 COMMENT 'Held, and nobody can say whether the SMs were busy; nobody\'s waste, GPU-hours',
    `unclaimed_gpu_hours` Float64 COMMENT 'Waste: requested and not allocated, GPU-hours',
    `idle_gpu_hours` Float64 COMMENT 'Waste: allocated in windows without SM time, GPU-hours',
    `underused_gpu_hours` Float64 COMMENT 'Waste: active and not busy, GPU-hours',
    `waste_gpu_hours` Float64 COMMENT 'Unclaimed + idle + underused, GPU-hours',
    `allocated_usd` Nullable(Float64) COMMENT 'Price of what was allocated, USD; NULL: no price known',
    `waste_usd` Nullable(Float64) COMMENT 'Price of the waste, USD; NULL: no price known, then see unpriced_waste_gpu_hours',
    `unclaimed_usd` Nullable(Float64) COMMENT 'Part of waste_usd that is unclaimed, USD',
    `idle_usd` Nullable(Float64) COMMENT 'Part of waste_usd that is idle, USD',
    `underused_usd` Nullable(Float64) COMMENT 'Part of waste_usd that is underused, USD',
    `unpriced_waste_gpu_hours` Float64 COMMENT 'Waste that waste_usd leaves out because no price is known, GPU-hours',
    `requested_gib_hours` Float64 COMMENT 'Memory of the requested GPUs, GiB-hours; 0 where the GPU model is not known',
    `allocated_gib_hours` Float64 COMMENT 'Memory of the allocated GPUs, GiB-hours',
    `used_gib_hours` Float64 COMMENT 'Memory that processes used, GiB-hours'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'The ledger: requested against held and used, by hour and owner. Units are in the column names; see docs/books.md.'
AS WITH
    (
        SELECT prices
        FROM gpu_price_list
    ) AS prices,
    memory AS
    (
        SELECT
            gpu_model,
            (sum(c.mem_total_mib_ms) / sum(c.observed_ms)) / 1024 AS gib
        FROM fleet_seen AS c
        GROUP BY gpu_model
    ),
    accounts AS
    (
        SELECT
            k.account AS account,
            sipHash64(k.cluster, k.pool, k.team, k.model, k.endpoint, k.gpu_model) AS entry,
            k.cluster AS cluster,
            k.pool AS pool,
            toLowCardinality(if(k.team = '', 'unattributed', k.team)) AS team,
            k.model AS model,
            k.endpoint AS endpoint,
            k.gpu_model AS gpu_model,
            m.gib AS gib,
            arrayMap(price -> (price.priced_from, price.usd_per_gpu_hour), arrayFilter(price -> ((price.pool IN ('', k.host_pool)) AND ((price.gpu_model = '') OR (position(lowerUTF8(k.gpu_model), price.gpu_model) > 0))), prices)) AS prices
        FROM
        (
            SELECT DISTINCT
                owner AS account,
                cluster,
                host_pool,
                pool,
                team,
                model,
                endpoint,
                gpu_model
            FROM owners_seen
            UNION ALL
            SELECT
                request_group,
                fleet_cluster,
                pool,
                pool,
                team,
                model,
                endpoint,
                fleet_gpu_model
            FROM request_groups
        ) AS k
        ANY LEFT JOIN memory AS m ON m.gpu_model = k.gpu_model
    ),
    postings AS
    (
        SELECT
            hour,
            request_group,
            u.owner AS account,
            toFloat64(0) AS requested,
            u.held_ms + u.unheld_ms AS allocated,
            u.held_ms AS held,
            u.active_ms AS active,
            u.busy_ms AS busy,
            u.unmeasured_ms AS unmeasured,
            u.mem_mib_ms AS mem_mib_ms
        FROM usage_by_request AS u
        UNION ALL
        SELECT
            hour,
            request_group,
            request_group,
            sum(r.requested_gpu_hours) * 3600000,
            0,
            0,
            0,
            0,
            0,
            0
        FROM requested_hourly AS r
        GROUP BY
            hour,
            request_group
    ),
    claims AS
    (
        SELECT
            p.*,
            if(p.requested = 0, 0, greatest(p.requested - sum(p.allocated) OVER (PARTITION BY hour, request_group), 0)) AS unclaimed
        FROM postings AS p
    ),
    entries AS
    (
        WITH
            (arrayFirst(price -> ((price.1) <= p.hour), k.prices)).2 AS price,
            ifNull(price, 0) AS usd
        SELECT
            hour,
            entry,
            sum(p.requested) AS requested,
            sum(p.allocated) AS allocated,
            sum(p.held) AS held,
            sum(p.active) AS active,
            sum(p.busy) AS busy,
            sum(p.unmeasured) AS unmeasured,
            sum(p.unclaimed) AS unclaimed,
            sum(p.mem_mib_ms) AS mem_mib_ms,
            countIf(price IS NOT NULL) > 0 AS priced,
            sum(p.allocated * usd) AS allocated_usd,
            sum(p.unclaimed * usd) AS unclaimed_usd,
            sum(((p.allocated - p.active) - p.unmeasured) * usd) AS idle_usd,
            sum((p.active - p.busy) * usd) AS underused_usd,
            sumIf(p.unclaimed + ((p.allocated - p.unmeasured) - p.busy), price IS NULL) AS unpriced
        FROM claims AS p
        ANY LEFT JOIN accounts AS k ON k.account = p.account
        GROUP BY
            hour,
            entry
    )
SELECT
    e.hour AS hour,
    k.cluster AS cluster,
    k.pool AS pool,
    k.team AS team,
    k.model AS model,
    k.endpoint AS endpoint,
    k.gpu_model AS gpu_model,
    e.requested / 3600000 AS requested_gpu_hours,
    e.allocated / 3600000 AS allocated_gpu_hours,
    e.held / 3600000 AS held_gpu_hours,
    e.active / 3600000 AS active_gpu_hours,
    e.busy / 3600000 AS busy_gpu_hours,
    e.unmeasured / 3600000 AS unmeasured_gpu_hours,
    e.unclaimed / 3600000 AS unclaimed_gpu_hours,
    ((e.allocated - e.active) - e.unmeasured) / 3600000 AS idle_gpu_hours,
    (e.active - e.busy) / 3600000 AS underused_gpu_hours,
    (((e.unclaimed + e.allocated) - e.unmeasured) - e.busy) / 3600000 AS waste_gpu_hours,
    if(e.priced, e.allocated_usd / 3600000, NULL) AS allocated_usd,
    if(e.priced, ((e.unclaimed_usd + e.idle_usd) + e.underused_usd) / 3600000, NULL) AS waste_usd,
    if(e.priced, e.unclaimed_usd / 3600000, NULL) AS unclaimed_usd,
    if(e.priced, e.idle_usd / 3600000, NULL) AS idle_usd,
    if(e.priced, e.underused_usd / 3600000, NULL) AS underused_usd,
    e.unpriced / 3600000 AS unpriced_waste_gpu_hours,
    (e.requested * k.gib) / 3600000 AS requested_gib_hours,
    (e.allocated * k.gib) / 3600000 AS allocated_gib_hours,
    (e.mem_mib_ms / 1024) / 3600000 AS used_gib_hours
FROM entries AS e
ANY LEFT JOIN accounts AS k ON k.entry = e.entry;

CREATE VIEW load_profile
(
    `day` Date COMMENT 'Day, UTC',
    `team` LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    `model` LowCardinality(String) COMMENT 'Model; empty: not said',
    `endpoint` LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `requests` UInt64 COMMENT 'Requests that ended, well or not',
    `errors` Nullable(UInt64) COMMENT 'Requests that failed; NULL: not offered',
    `prompt_tokens` Nullable(UInt64) COMMENT 'Tokens read; NULL: not offered',
    `generated_tokens` Nullable(UInt64) COMMENT 'Tokens generated; NULL: not offered',
    `allocated_gpu_hours` Float64 COMMENT 'Held, or granted without a process, GPU-hours',
    `busy_gpu_hours` Float64 COMMENT 'SMs busy, GPU-hours',
    `allocated_usd` Nullable(Float64) COMMENT 'Price of what was allocated, USD; NULL: no price known',
    `tokens_per_gpu_second` Nullable(Float64) COMMENT 'Tokens read and generated per second of an allocated GPU; NULL: not offered, or no GPU',
    `generated_tokens_per_gpu_second` Nullable(Float64) COMMENT 'Tokens generated per second of an allocated GPU; NULL: not offered, or no GPU',
    `requests_per_busy_gpu_hour` Nullable(Float64) COMMENT 'Requests per hour of a busy GPU; NULL: none was busy, or nobody can say',
    `running_mean` Nullable(Float64) COMMENT 'Requests in work at a time on a server, mean; NULL: not offered',
    `running_max` Nullable(UInt32) COMMENT 'Requests in work at a time on a server, at most; NULL: not offered',
    `waiting_mean` Nullable(Float64) COMMENT 'Requests that waited at a time on a server, mean; NULL: not offered',
    `kv_cache_pct_mean` Nullable(Float64) COMMENT 'KV cache of a server in use, mean, percent; NULL: not offered',
    `mem_mib_mean` Nullable(Float64) COMMENT 'Memory on one GPU, mean, MiB; beside running_mean; NULL: the driver does not say',
    `mem_mib_max` Nullable(UInt32) COMMENT 'Most memory on one GPU at any tick, MiB; beside running_max; NULL: the driver does not say',
    `usd_per_million_tokens` Nullable(Float64) COMMENT 'Price of what was allocated per million tokens read and generated, USD; NULL: no price, no tokens, or not offered',
    `usd_per_thousand_requests` Nullable(Float64) COMMENT 'Price of what was allocated per thousand requests that did not fail, USD; NULL: no price, or no such requests'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Load beside use, by day and endpoint: what a request and a token take of the GPUs, and cost. See docs/traffic.md.'
AS WITH
    served AS
    (
        SELECT
            day,
            if(t.team = '', 'unattributed', t.team) AS owner,
            model,
            endpoint,
            pool,
            sum(t.requests) AS requests,
            sum(t.errors) AS errors,
            sum(t.prompt_tokens) AS prompt_tokens,
            sum(t.generated_tokens) AS generated_tokens,
            sum(t.running_ms) AS running_ms,
            sum(t.running_known_ms) AS running_known_ms,
            max(t.running_max) AS running_max,
            sum(t.waiting_ms) AS waiting_ms,
            sum(t.waiting_known_ms) AS waiting_known_ms,
            sum(t.kv_cache_pct_ms) AS kv_cache_pct_ms,
            sum(t.kv_cache_known_ms) AS kv_cache_known_ms,
            groupBitOr(t.offered) AS offered,
            if(bitAnd(offered, 12) = 0, NULL, prompt_tokens + generated_tokens) AS tokens
        FROM traffic_daily AS t
        GROUP BY
            day,
            owner,
            model,
            endpoint,
            pool
    ),
    gpus AS
    (
        SELECT
            day,
            if(u.team = '', 'unattributed', u.team) AS owner,
            model,
            endpoint,
            pool,
            sum(u.held_ms + u.unheld_ms) / 3600000 AS allocated,
            sum(u.busy_ms) / 3600000 AS busy,
            sum(u.unmeasured_ms) > 0 AS unmeasured,
            if(sum(u.mem_known_ms) = 0, NULL, sum(u.mem_mib_ms) / sum(u.mem_known_ms)) AS mem_mean,
            if(sum(u.mem_known_ms) = 0, NULL, max(u.mem_mib_max)) AS mem_max
        FROM usage_daily AS u
        GROUP BY
            day,
            owner,
            model,
            endpoint,
            pool
    ),
    money AS
    (
        SELECT
            day,
            team,
            model,
            endpoint,
            pool,
            sum(l.allocated_usd) AS usd
        FROM ledger_daily AS l
        WHERE l.allocated_gpu_hours > 0
        GROUP BY
            day,
            team,
            model,
            endpoint,
            pool
    )
SELECT
    s.day AS day,
    s.owner AS team,
    s.model AS model,
    s.endpoint AS endpoint,
    s.pool AS pool,
    s.requests AS requests,
    if(bitAnd(s.offered, 2) = 0, NULL, s.errors) AS errors,
    if(bitAnd(s.offered, 4) = 0, NULL, s.prompt_tokens) AS prompt_tokens,
    if(bitAnd(s.offered, 8) = 0, NULL, s.generated_tokens) AS generated_tokens,
    g.allocated AS allocated_gpu_hours,
    g.busy AS busy_gpu_hours,
    m.usd AS allocated_usd,
    s.tokens / nullIf(3600 * g.allocated, 0) AS tokens_per_gpu_second,
    if(bitAnd(s.offered, 8) = 0, NULL, s.generated_tokens) / nullIf(3600 * g.allocated, 0) AS generated_tokens_per_gpu_second,
    if(g.unmeasured, NULL, s.requests / nullIf(g.busy, 0)) AS requests_per_busy_gpu_hour,
    s.running_ms / nullIf(s.running_known_ms, 0) AS running_mean,
    if(s.running_known_ms = 0, NULL, s.running_max) AS running_max,
    s.waiting_ms / nullIf(s.waiting_known_ms, 0) AS waiting_mean,
    s.kv_cache_pct_ms / nullIf(s.kv_cache_known_ms, 0) AS kv_cache_pct_mean,
    g.mem_mean AS mem_mib_mean,
    g.mem_max AS mem_mib_max,
    (1000000 * m.usd) / nullIf(s.tokens, 0) AS usd_per_million_tokens,
    (1000 * m.usd) / nullIf(s.requests - least(s.errors, s.requests), 0) AS usd_per_thousand_requests
FROM served AS s
LEFT JOIN gpus AS g ON (g.day = s.day) AND (g.owner = s.owner) AND (g.model = s.model) AND (g.endpoint = s.endpoint) AND (g.pool = s.pool)
LEFT JOIN money AS m ON (m.day = s.day) AND (m.team = s.owner) AND (m.model = s.model) AND (m.endpoint = s.endpoint) AND (m.pool = s.pool);

CREATE TABLE notification_versions
(
    `receiver` LowCardinality(String) COMMENT 'Receiver, as the notify file calls it',
    `finding` String COMMENT 'Id of the finding',
    `first_seen` DateTime('UTC') COMMENT 'When the finding came up, as it was when it was first told',
    `number` UInt32 COMMENT 'Which notice of this finding to this receiver it is, from 1 on',
    `change` Enum8('opened' = 1, 'escalated' = 2, 'eased' = 3, 'resolved' = 4) COMMENT 'What is told',
    `rule` LowCardinality(String) COMMENT 'Rule that found it',
    `subject` String COMMENT 'What it is about',
    `severity` LowCardinality(String) COMMENT 'How urgent',
    `severity_before` LowCardinality(String) COMMENT 'What this receiver was told before; empty: nothing',
    `team` LowCardinality(String) COMMENT 'Team that can act on it, as first told',
    `pool` LowCardinality(String) COMMENT 'Pool that it concerns, as first told',
    `usd` Nullable(Float64) COMMENT 'Money at stake in a week at the rate of then, USD; NULL: none known',
    `evidence` Map(LowCardinality(String), String) COMMENT 'Figures that the verdict rests on, by name',
    `resolved_at` Nullable(DateTime('UTC')) COMMENT 'When the rule first found it no more; NULL: open',
    `noticed_at` DateTime64(6, 'UTC') COMMENT 'When it was found that this is to be told',
    `join_key` String COMMENT 'Notices of the same key are told in one message; empty: each in its own',
    `message` String COMMENT 'Message that told it, or is to: the webhook-id; empty: none yet',
    `state` Enum8('waiting' = 1, 'sent' = 2, 'failed' = 3) COMMENT 'waiting: to be sent. sent: the receiver took it. failed: given up',
    `attempts` UInt32 COMMENT 'How often sending failed',
    `not_before` DateTime64(3, 'UTC') COMMENT 'When it may be tried again',
    `fault` String COMMENT 'Why sending failed last; empty: it did not',
    `said_at` DateTime64(6, 'UTC') COMMENT 'When this version was written',
    `version` UInt64 MATERIALIZED bitShiftLeft(toUInt64(state != 'waiting'), 62) + toUInt64(toUnixTimestamp64Micro(said_at)) COMMENT 'The highest counts: what was sent does not wait again, whoever says so later'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (receiver, finding, first_seen, number)
SETTINGS index_granularity = 8192
COMMENT 'Notices of findings, before deduplication. Read notifications instead. Written by collectors.';

CREATE VIEW notifications
(
    `receiver` LowCardinality(String) COMMENT 'Receiver, as the notify file calls it',
    `finding` String COMMENT 'Id of the finding',
    `rule` LowCardinality(String) COMMENT 'Rule that found it',
    `subject` String COMMENT 'What it is about',
    `first_seen` DateTime('UTC') COMMENT 'When the finding came up',
    `number` UInt32 COMMENT 'Which notice of this finding to this receiver it is, from 1 on',
    `change` Enum8('opened' = 1, 'escalated' = 2, 'eased' = 3, 'resolved' = 4) COMMENT 'What is told',
    `severity` LowCardinality(String) COMMENT 'How urgent',
    `team` LowCardinality(String) COMMENT 'Team that can act on it, as first told',
    `pool` LowCardinality(String) COMMENT 'Pool that it concerns, as first told',
    `usd` Nullable(Float64) COMMENT 'Money at stake in a week at the rate of then, USD; NULL: none known',
    `noticed_at` DateTime64(6, 'UTC') COMMENT 'When it was found that this is to be told',
    `state` Enum8('waiting' = 1, 'sent' = 2, 'failed' = 3) COMMENT 'waiting: to be sent. sent: the receiver took it. failed: given up',
    `message` String COMMENT 'Message that told it, or is to: the webhook-id; empty: none yet',
    `attempts` UInt32 COMMENT 'How often sending failed',
    `not_before` DateTime64(3, 'UTC') COMMENT 'When it may be tried again',
    `fault` String COMMENT 'Why sending failed last; empty: it did not',
    `said_at` DateTime64(6, 'UTC') COMMENT 'When it was sent, given up, or last tried'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Notices of findings: what was told to whom, what waits, what was given up.'
AS SELECT
    receiver,
    finding,
    rule,
    subject,
    first_seen,
    number,
    change,
    severity,
    team,
    pool,
    usd,
    noticed_at,
    state,
    message,
    attempts,
    not_before,
    fault,
    said_at
FROM notification_versions
FINAL;

CREATE TABLE notifier_leases
(
    `holder` String COMMENT 'Who claims to be the one that sends; a new name for every claim',
    `said_at` DateTime64(6, 'UTC') COMMENT 'When this was said, by the clock of ClickHouse; the first is the claim, the latest counts',
    `until` DateTime64(6, 'UTC') COMMENT 'When the claim ends, unless it is renewed'
)
ENGINE = MergeTree
ORDER BY (holder, said_at)
TTL toDateTime(said_at) + toIntervalDay(1)
SETTINGS index_granularity = 8192
COMMENT 'Which collector sends notices: of the claims that have not ended, the earliest. Written by collectors.';

CREATE VIEW observed_hourly
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour; hours without telemetry are left out',
    `pool` LowCardinality(String) COMMENT 'Pool that the GPUs belong to; empty: all pools together',
    `seen_from` DateTime('UTC') COMMENT 'Start of the first window observed in the hour',
    `seen_until` DateTime('UTC') COMMENT 'End of the last window observed in the hour',
    `observed_gpu_ms_by_minute` Array(UInt64) COMMENT '60 values, one a minute: time observed, milliseconds of a whole GPU'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'What telemetry has seen of every pool, by hour.'
AS SELECT
    c.hour AS hour,
    arrayJoin(arrayDistinct([c.host_pool, ''])) AS pool,
    min(c.first_seen) AS seen_from,
    max(c.last_seen) AS seen_until,
    sumForEach(c.observed_gpu_ms_by_minute) AS observed_gpu_ms_by_minute
FROM capacity_hourly AS c
GROUP BY
    hour,
    pool;

CREATE VIEW open_findings
(
    `id` String COMMENT 'Short name of rule and subject: gpuledger findings ack ID',
    `rule` LowCardinality(String) COMMENT 'Rule that found it, see docs/findings.md',
    `subject` String COMMENT 'What it is about',
    `severity` Enum8('info' = 1, 'warning' = 2, 'critical' = 3) COMMENT 'How urgent',
    `team` LowCardinality(String) COMMENT 'Team that can act on it; empty: whoever runs the fleet',
    `pool` LowCardinality(String) COMMENT 'Pool that it concerns; empty: none, or more than one',
    `usd` Nullable(Float64) COMMENT 'Money at stake in a week at the present rate, USD; NULL: no price known, or none at stake',
    `evidence` Map(LowCardinality(String), String) COMMENT 'Figures that the verdict rests on, by name',
    `first_seen` DateTime('UTC') COMMENT 'When the rule first found it',
    `last_seen` DateTime('UTC') COMMENT 'When the rule last found it'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Findings that are open and not acknowledged, the worst money first.'
AS SELECT
    id,
    rule,
    subject,
    severity,
    team,
    pool,
    usd,
    evidence,
    first_seen,
    last_seen
FROM findings
WHERE state = 'open'
ORDER BY
    usd DESC NULLS LAST,
    severity DESC,
    first_seen ASC,
    rule ASC,
    subject ASC;

CREATE VIEW operational_surface
(
    `team` LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    `models` UInt64 COMMENT 'Models that ran in the last 7 days',
    `models_without_traffic` UInt64 COMMENT 'Models of these that inference servers held ready and nobody asked; where no server tells, none are counted',
    `endpoints` UInt64 COMMENT 'Endpoints that ran in the last 7 days, counted once for each of their models',
    `endpoints_without_slo` UInt64 COMMENT 'Endpoints of these for which no objective is in force',
    `slos` UInt64 COMMENT 'Objectives in force, whether their endpoints ran or not',
    `hosts` UInt64 COMMENT 'Hosts that it ran on in the last 7 days',
    `pools` UInt64 COMMENT 'Pools that it ran in in the last 7 days',
    `gpu_models` UInt64 COMMENT 'GPU models that it ran on in the last 7 days',
    `allocated_gpus` Float64 COMMENT 'GPUs held, or granted without a process, mean of the time observed in the last 7 days, whole GPUs',
    `requests_in_force` UInt64 COMMENT 'Capacity requests that count now',
    `requested_gpus` Float64 COMMENT 'GPUs that these ask for',
    `proposed_gpus` Float64 COMMENT 'GPUs asked for by requests that wait for a decision',
    `open_findings` UInt64 COMMENT 'Findings that the team can act on, open and not acknowledged; those without a team are in no row',
    `open_findings_usd` Nullable(Float64) COMMENT 'Sum of their money at stake in a week, USD; they may speak of the same GPUs; NULL: no price known, or none at stake',
    `last_hour` Nullable(DateTime('UTC')) COMMENT 'Start of the latest hour in which it ran; NULL: not in the last 7 days'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'What every team operates: models, endpoints, hosts, what is promised and asked for, and what is found.'
AS WITH
    (
        SELECT max(hour)
        FROM rolled_hours
    ) - toIntervalDay(7) AS since,
    (
        SELECT sum(h.seconds)
        FROM
        (
            SELECT dateDiff('second', min(c.first_seen), max(c.last_seen)) AS seconds
            FROM capacity_hourly AS c
            WHERE c.hour >= since
            GROUP BY c.hour
        ) AS h
    ) AS observed_s,
    named AS
    (
        SELECT team
        FROM owners_seen
        UNION DISTINCT
        SELECT team
        FROM capacity_requests
        UNION DISTINCT
        SELECT team
        FROM slos
        UNION DISTINCT
        SELECT team
        FROM finding_versions
    ),
    owners AS
    (
        SELECT
            team,
            model,
            endpoint,
            pool,
            gpu_model,
            sum(u.held_ms + u.unheld_ms) AS allocated_ms,
            max(u.hour) AS last_hour
        FROM usage_hourly AS u
        WHERE u.hour >= since
        GROUP BY
            team,
            model,
            endpoint,
            pool,
            gpu_model
    ),
    unasked AS
    (
        SELECT
            team,
            model
        FROM traffic_hourly AS t
        WHERE t.hour >= since
        GROUP BY
            team,
            model
        HAVING (sum(t.requests) = 0) AND (bitAnd(groupBitOr(t.offered), 1) > 0)
    ),
    promised AS
    (
        SELECT
            team,
            endpoint,
            arrayFilter(objective -> (objective.valid_from <= now()), s.objectives) AS begun,
            arrayFilter((model, valid_until, number) -> ((number = 1) AND (valid_until > now())), begun.model, begun.valid_until, arrayEnumerateUniq(begun.model)) AS models
        FROM slo_list AS s
    ),
    running AS
    (
        SELECT
            o.team AS team,
            uniqExactIf(o.model, o.model != '') AS models,
            uniqExactIf(o.model, (o.model != '') AND ((o.team, o.model) IN (
                SELECT
                    team,
                    model
                FROM unasked
            ))) AS unasked_models,
            uniqExactIf((o.endpoint, o.model), o.endpoint != '') AS endpoints,
            uniqExactIf((o.endpoint, o.model), (o.endpoint != '') AND (NOT has(p.models, '')) AND (NOT has(p.models, o.model))) AS unpromised_endpoints,
            uniqExact(o.pool) AS pools,
            uniqExact(o.gpu_model) AS gpu_models,
            sum(o.allocated_ms) AS allocated_ms,
            toNullable(max(o.last_hour)) AS last_hour
        FROM owners AS o
        LEFT JOIN promised AS p ON (p.team = o.team) AND (p.endpoint = o.endpoint)
        GROUP BY team
    ),
    hosting AS
    (
        SELECT
            team,
            count() AS hosts
        FROM
        (
            SELECT
                team,
                cluster,
                host
            FROM workload_hourly AS w
            WHERE w.hour >= since
            GROUP BY
                team,
                cluster,
                host
        ) AS w
        GROUP BY team
    ),
    promising AS
    (
        SELECT
            team,
            sum(length(p.models)) AS slos
        FROM promised AS p
        GROUP BY team
    ),
    requesting AS
    (
        SELECT
            team,
            count() AS requests,
            sum(r.gpus) AS gpus
        FROM requests_in_force AS r
        WHERE (r.counts_from <= now()) AND (r.counts_until > now())
        GROUP BY team
    ),
    proposing AS
    (
        SELECT
            team,
            count() AS requests,
            sum(r.gpus) AS gpus
        FROM proposed_requests AS r
        GROUP BY team
    ),
    found AS
    (
        SELECT
            team,
            count() AS findings,
            sum(f.usd) AS usd
        FROM open_findings AS f
        WHERE f.team != ''
        GROUP BY team
    )
SELECT
    if(n.team = '', 'unattributed', n.team) AS team,
    w.models AS models,
    w.unasked_models AS models_without_traffic,
    w.endpoints AS endpoints,
    w.unpromised_endpoints AS endpoints_without_slo,
    s.slos AS slos,
    h.hosts AS hosts,
    w.pools AS pools,
    w.gpu_models AS gpu_models,
    ifNull((w.allocated_ms / 1000) / nullIf(observed_s, 0), 0) AS allocated_gpus,
    r.requests AS requests_in_force,
    r.gpus AS requested_gpus,
    p.gpus AS proposed_gpus,
    f.findings AS open_findings,
    f.usd AS open_findings_usd,
    w.last_hour AS last_hour
FROM named AS n
LEFT JOIN running AS w ON w.team = n.team
LEFT JOIN hosting AS h ON h.team = n.team
LEFT JOIN promising AS s ON s.team = n.team
LEFT JOIN requesting AS r ON r.team = n.team
LEFT JOIN proposing AS p ON p.team = n.team
LEFT JOIN found AS f ON f.team = n.team
WHERE (w.last_hour IS NOT NULL) OR (s.slos > 0) OR (r.requests > 0) OR (p.requests > 0) OR (f.findings > 0);

CREATE TABLE owners_seen
(
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `owner` UInt64 COMMENT 'The same as in usage_hourly'
)
ENGINE = ReplacingMergeTree
ORDER BY (team, model, endpoint, use_case, pool, gpu_model, host_pool, cluster)
SETTINGS index_granularity = 8192
COMMENT 'Owners that stand in any version of any hour, with the GPUs that they used.';

CREATE VIEW pool_headroom
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour',
    `pool` LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `capacity_gpus` Float64 COMMENT 'GPUs observed, mean of the seen part of the hour, whole GPUs',
    `requested_gpus` Float64 COMMENT 'Asked for by approved requests, mean of the seen part of the hour, GPUs; requests that several models of the pool fit are divided by their capacity',
    `allocated_gpus` Float64 COMMENT 'Held or granted, mean of the seen part of the hour, whole GPUs',
    `used_gpus` Float64 COMMENT 'Active, or held and unmeasured, mean of the seen part of the hour, whole GPUs',
    `headroom_gpus` Float64 COMMENT 'Capacity less what is requested or allocated, whichever is more; below 0: promised or taken beyond capacity, GPUs',
    `level_gpus` Nullable(Float64) COMMENT 'Allocated GPUs (daily p95) of the busiest weekday as the trend has them today; same in all hours; NULL: less than 14 days',
    `trend_gpus_per_day` Nullable(Float64) COMMENT 'Growth of allocated GPUs (daily p95) over the last 28 days, GPUs a day; same in all hours; NULL: less than 14 days',
    `trend_error_gpus_per_day` Nullable(Float64) COMMENT 'Standard error of trend_gpus_per_day, GPUs a day',
    `trend_days` UInt64 COMMENT 'Days that the trend rests on, 28 at most',
    `days_to_full` Nullable(Float64) COMMENT 'Days from today until the trend reaches capacity; 0: there already; NULL: not in sight, or less than 14 days',
    `days_to_full_earliest` Nullable(Float64) COMMENT 'The same with a trend two standard errors steeper, days',
    `days_to_full_latest` Nullable(Float64) COMMENT 'The same with a trend two standard errors flatter, days; NULL: perhaps never'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Room in each pool by hour, and when the pool is full as the last four weeks have it.'
AS WITH
    (
        SELECT max(c.last_seen)
        FROM capacity_hourly AS c
    ) AS newest,
    capacity AS
    (
        SELECT
            hour,
            host_pool AS pool,
            gpu_model,
            sum(c.observed_ms) AS observed,
            sum(c.observed_ms) - sum(c.unallocated_ms) AS allocated,
            1000 * dateDiff('second', min(min(c.first_seen)) OVER (PARTITION BY hour, host_pool), max(max(c.last_seen)) OVER (PARTITION BY hour, host_pool)) AS seen_ms
        FROM capacity_hourly AS c
        WHERE c.observed_ms > 0
        GROUP BY
            hour,
            host_pool,
            gpu_model
    ),
    used AS
    (
        SELECT
            hour,
            host_pool AS pool,
            gpu_model,
            sum(u.active_ms) + sum(u.unmeasured_ms) AS used
        FROM usage_hourly AS u
        GROUP BY
            hour,
            host_pool,
            gpu_model
    ),
    wished AS
    (
        SELECT
            r.hour AS hour,
            g.pool AS pool,
            lowerUTF8(g.gpu_model) AS gpu_model,
            sum(r.requested_gpu_hours) AS gpu_hours
        FROM requested_hourly AS r
        INNER JOIN request_groups AS g ON g.request_group = r.request_group
        GROUP BY
            hour,
            pool,
            gpu_model
    ),
    asked AS
    (
        SELECT
            c.hour AS hour,
            c.pool AS pool,
            c.gpu_model AS gpu_model,
            ((3600000 * w.gpu_hours) * c.observed) / sum(c.observed) OVER (PARTITION BY c.hour, c.pool, w.gpu_model) AS requested
        FROM capacity AS c
        INNER JOIN wished AS w ON (w.hour = c.hour) AND (w.pool = c.pool)
        WHERE (positionUTF8(lowerUTF8(c.gpu_model), w.gpu_model) > 0) OR (w.gpu_model = '')
    ),
    requested AS
    (
        SELECT
            hour,
            pool,
            gpu_model,
            sum(a.requested) AS requested
        FROM asked AS a
        GROUP BY
            hour,
            pool,
            gpu_model
    ),
    days AS
    (
        SELECT
            pool,
            gpu_model,
            -toFloat64(dateDiff('day', toDate(c.hour), toDate(assumeNotNull(newest)))) AS day,
            toDayOfWeek(c.hour) AS weekday,
            quantileExact(0.95)(c.allocated / c.seen_ms) AS peak
        FROM capacity AS c
        WHERE (toDate(c.hour) >= (toDate(newest) - 28)) AND (toDate(c.hour) < toDate(newest))
        GROUP BY
            pool,
            gpu_model,
            day,
            weekday
        HAVING count() >= 20
    ),
    distances AS
    (
        SELECT
            pool,
            gpu_model,
            day,
            weekday,
            avg(d.day) OVER same_weekday AS mean_day,
            avg(d.peak) OVER same_weekday AS mean_peak,
            d.day - mean_day AS days_off,
            d.peak - mean_peak AS gpus_off
        FROM days AS d
        WINDOW same_weekday AS (PARTITION BY pool, gpu_model, weekday)
    ),
    lines AS
    (
        SELECT
            pool,
            gpu_model,
            count() AS days_known,
            sum(d.days_off * d.days_off) AS spread,
            sum(d.days_off * d.gpus_off) / spread AS slope,
            (days_known - uniqExact(d.weekday)) - 1 AS freedom,
            arrayMap(point -> ((point.3) - (slope * (point.2))), arraySort(groupArray((d.day, d.days_off, d.gpus_off)))) AS errors,
            arraySum(e -> (e * e), errors) AS squares,
            arraySum((e, next) -> (e * next), arrayPopBack(errors), arrayPopFront(errors)) AS lagged,
            if(squares > 1e-9, least(greatest(lagged / squares, 0), 0.9), 0) AS stays,
            sqrt((((squares / freedom) / spread) * (1 + stays)) / (1 - stays)) AS slope_error,
            arrayMax(mean -> ((mean.2) - (slope * (mean.1))), groupUniqArray((d.mean_day, d.mean_peak))) AS level
        FROM distances AS d
        GROUP BY
            pool,
            gpu_model
        HAVING days_known >= 14
    ),
    capacity_now AS
    (
        SELECT
            pool,
            gpu_model,
            quantileExact(0.5)(c.observed / c.seen_ms) AS gpus
        FROM capacity AS c
        WHERE c.hour > (newest - toIntervalDay(1))
        GROUP BY
            pool,
            gpu_model
    ),
    forecasts AS
    (
        SELECT
            n.pool AS pool,
            n.gpu_model AS gpu_model,
            t.days_known AS days_known,
            toNullable(t.level) AS level,
            toNullable(t.slope) AS slope,
            toNullable(t.slope_error) AS slope_error,
            arrayMap(steepness -> multiIf(t.level >= n.gpus, 0, (steepness > 0) AND (((n.gpus - t.level) / steepness) <= 3650), (n.gpus - t.level) / steepness, NULL), [t.slope, t.slope + (2 * t.slope_error), t.slope - (2 * t.slope_error)]) AS full_after
        FROM lines AS t
        INNER JOIN capacity_now AS n ON (n.pool = t.pool) AND (n.gpu_model = t.gpu_model)
    )
SELECT
    c.hour AS hour,
    c.pool AS pool,
    c.gpu_model AS gpu_model,
    c.observed / c.seen_ms AS capacity_gpus,
    r.requested / c.seen_ms AS requested_gpus,
    c.allocated / c.seen_ms AS allocated_gpus,
    u.used / c.seen_ms AS used_gpus,
    capacity_gpus - greatest(requested_gpus, allocated_gpus) AS headroom_gpus,
    f.level AS level_gpus,
    f.slope AS trend_gpus_per_day,
    f.slope_error AS trend_error_gpus_per_day,
    f.days_known AS trend_days,
    f.full_after[1] AS days_to_full,
    f.full_after[2] AS days_to_full_earliest,
    f.full_after[3] AS days_to_full_latest
FROM capacity AS c
LEFT JOIN used AS u ON (u.hour = c.hour) AND (u.pool = c.pool) AND (u.gpu_model = c.gpu_model)
LEFT JOIN requested AS r ON (r.hour = c.hour) AND (r.pool = c.pool) AND (r.gpu_model = c.gpu_model)
LEFT JOIN forecasts AS f ON (f.pool = c.pool) AND (f.gpu_model = c.gpu_model);

CREATE VIEW process_usage
(
    `ts` DateTime('UTC') COMMENT 'Start of the window',
    `window_s` UInt16 COMMENT 'Length of the window, seconds',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host that reported the row',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    `gpu` LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `pid` UInt32 COMMENT 'Process id on the host; 0: work that no listed process explains',
    `process_start` Nullable(DateTime('UTC')) COMMENT 'Start of the process; NULL: cannot be seen',
    `process_name` LowCardinality(String) COMMENT 'Command name (comm) of the process',
    `user` LowCardinality(String) COMMENT 'User that the process runs as',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload says it belongs to',
    `workload_kind` LowCardinality(String) COMMENT 'process, container, pod, slurm_job or unit',
    `workload` LowCardinality(String) COMMENT 'Name of the workload, unique on its host',
    `owner_source` LowCardinality(String) COMMENT 'Resolver that named the owner, empty if none could',
    `context` Enum8('unspecified' = 0, 'compute' = 1, 'graphics' = 2, 'mps' = 3) COMMENT 'Kind of GPU context',
    `present_ms` UInt32 COMMENT 'Time the process was seen on this GPU, milliseconds, not divided among sharers',
    `held_ms` UInt32 COMMENT 'Its share of the time the GPU was held, milliseconds of a whole GPU',
    `sm_busy_ms` Nullable(UInt32) COMMENT 'Its share of the time the SMs were busy, milliseconds of a whole GPU; NULL: unknown',
    `sm_pct_max` Nullable(UInt8) COMMENT 'Highest SM use sampled, percent; NULL: unknown',
    `sm_source` Enum8('unspecified' = 0, 'process' = 1, 'device' = 2, 'apportioned' = 3, 'gpm' = 4, 'unknown' = 5) COMMENT 'Where the SM figures come from',
    `mem_mib_mean` Nullable(UInt32) COMMENT 'GPU memory of the process, mean over its presence, MiB; NULL: unknown',
    `mem_mib_max` Nullable(UInt32) COMMENT 'GPU memory of the process, highest, MiB; NULL: unknown',
    `mem_source` Enum8('unspecified' = 0, 'driver' = 1, 'unknown' = 2) COMMENT 'Where the memory figures come from'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'One row per window, GPU and process. Times are shares: they add up to those of the GPU.'
AS SELECT
    ts,
    window_s,
    cluster,
    host,
    host_pool,
    gpu,
    gpu_model,
    pid,
    if(toUnixTimestamp(raw.process_start) = 0, NULL, raw.process_start) AS process_start,
    process_name,
    user,
    team,
    model,
    endpoint,
    use_case,
    pool,
    workload_kind,
    workload,
    owner_source,
    context,
    present_ms,
    held_ms,
    if(raw.sm_source = 'unknown', NULL, raw.sm_busy_ms) AS sm_busy_ms,
    if(raw.sm_source = 'unknown', NULL, raw.sm_pct_max) AS sm_pct_max,
    sm_source,
    if(raw.mem_source = 'unknown', NULL, raw.mem_mib_mean) AS mem_mib_mean,
    if(raw.mem_source = 'unknown', NULL, raw.mem_mib_max) AS mem_mib_max,
    mem_source
FROM process_usage_raw AS raw
FINAL;

CREATE TABLE process_usage_raw
(
    `ts` DateTime('UTC') COMMENT 'Start of the window' CODEC(DoubleDelta, ZSTD(1)),
    `window_s` UInt16 COMMENT 'Length of the window, seconds' CODEC(ZSTD(1)),
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host that reported the row',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    `gpu` LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `pid` UInt32 COMMENT 'Process id on the host; 0: work that no listed process explains' CODEC(ZSTD(1)),
    `process_start` DateTime('UTC') COMMENT 'Start of the process; 1970-01-01 if it could not be seen' CODEC(ZSTD(1)),
    `process_name` LowCardinality(String) COMMENT 'Command name (comm) of the process',
    `user` LowCardinality(String) COMMENT 'User that the process runs as',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload says it belongs to',
    `workload_kind` LowCardinality(String) COMMENT 'process, container, pod, slurm_job or unit',
    `workload` LowCardinality(String) COMMENT 'Name of the workload, unique on its host',
    `owner_source` LowCardinality(String) COMMENT 'Resolver that named the owner, empty if none could',
    `context` Enum8('unspecified' = 0, 'compute' = 1, 'graphics' = 2, 'mps' = 3) COMMENT 'Kind of GPU context',
    `present_ms` UInt32 COMMENT 'Time the process was seen on this GPU, milliseconds, not divided among sharers' CODEC(T64, ZSTD(1)),
    `held_ms` UInt32 COMMENT 'Its share of the time the GPU was held, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `sm_busy_ms` UInt32 COMMENT 'Its share of the time the SMs were busy, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `sm_pct_max` UInt8 COMMENT 'Highest SM use sampled, percent' CODEC(ZSTD(1)),
    `sm_source` Enum8('unspecified' = 0, 'process' = 1, 'device' = 2, 'apportioned' = 3, 'gpm' = 4, 'unknown' = 5) COMMENT 'Where the SM figures come from; unknown: they are 0 and mean nothing',
    `mem_mib_mean` UInt32 COMMENT 'GPU memory of the process, mean over its presence, MiB' CODEC(T64, ZSTD(1)),
    `mem_mib_max` UInt32 COMMENT 'GPU memory of the process, highest, MiB' CODEC(T64, ZSTD(1)),
    `mem_source` Enum8('unspecified' = 0, 'driver' = 1, 'unknown' = 2) COMMENT 'Where the memory figures come from; unknown: they are 0 and mean nothing'
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ts)
PRIMARY KEY (pool, toStartOfHour(ts), host, gpu)
ORDER BY (pool, toStartOfHour(ts), host, gpu, pid, process_start, ts, cluster)
TTL toStartOfDay(ts) + toIntervalHour(337)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'Raw windows per process and GPU, before deduplication. Read process_usage instead.';

CREATE MATERIALIZED VIEW process_usage_touch TO touched_hours
(
    `hour` DateTime('UTC'),
    `touched_at` DateTime64(6, 'UTC')
)
AS SELECT DISTINCT
    toStartOfHour(ts) AS hour,
    now64(6, 'UTC') AS touched_at
FROM process_usage_raw;

CREATE VIEW proposed_requests
(
    `id` String COMMENT 'Capacity request',
    `team` LowCardinality(String) COMMENT 'Who asks',
    `pool` LowCardinality(String) COMMENT 'In which pool',
    `model` LowCardinality(String) COMMENT 'For which model; empty: any',
    `endpoint` LowCardinality(String) COMMENT 'For which endpoint; empty: any',
    `gpus` Float64 COMMENT 'How many GPUs',
    `usd_per_hour` Nullable(Float64) COMMENT 'Price of these for one hour, USD; NULL: no price known'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Capacity requests that are proposed, in their latest version.'
AS WITH
    (
        SELECT prices
        FROM gpu_price_list
    ) AS prices,
    latest AS
    (
        SELECT
            id,
            argMax(tuple(team, pool, model, endpoint, gpu_model, toFloat64(gpus), toString(status)), applied_at) AS request
        FROM capacity_requests
        GROUP BY id
    )
SELECT
    id,
    l.request.1 AS team,
    l.request.2 AS pool,
    l.request.3 AS model,
    l.request.4 AS endpoint,
    l.request.6 AS gpus,
    gpus * tupleElement(arrayFirst(price -> ((price.priced_from <= now('UTC')) AND (price.pool IN ('', l.request.2)) AND ((price.gpu_model = '') OR (position(lowerUTF8(l.request.5), price.gpu_model) > 0))), prices), 'usd_per_gpu_hour') AS usd_per_hour
FROM latest AS l
WHERE (l.request.7) = 'proposed';

CREATE VIEW read_by_hour
(
    `hours_from` Date COMMENT 'First day that is read by the hour; 2106-01-01: none',
    `ledger_from` Date COMMENT 'The same for what depends on capacity requests and prices',
    `slos_from` Date COMMENT 'The same for what depends on objectives'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Where views by day change from computed days to hours.'
AS WITH
    toDate('2106-01-01') AS never,
    (
        SELECT toDate(hourly_from)
        FROM kept_from
    ) AS hourly_from
SELECT
    greatest(hourly_from, min(if(d.stands, never, d.day))) AS hours_from,
    greatest(hourly_from, min(if(d.ledger_stands, never, d.day))) AS ledger_from,
    greatest(hourly_from, min(if(d.slos_stand, never, d.day))) AS slos_from
FROM days_stand AS d;

CREATE VIEW request_groups
(
    `request_group` UInt64 COMMENT 'Same for requests that ask for the same',
    `team` LowCardinality(String) COMMENT 'Who asks',
    `pool` LowCardinality(String) COMMENT 'In which pool',
    `model` LowCardinality(String) COMMENT 'For which model; empty: any',
    `endpoint` LowCardinality(String) COMMENT 'For which endpoint; empty: any',
    `use_case` LowCardinality(String) COMMENT 'For which use case; empty: any',
    `gpu_model` LowCardinality(String) COMMENT 'Part of the GPU model name wanted; empty: any',
    `fleet_cluster` LowCardinality(String) COMMENT 'The cluster, if only one has such GPUs in the pool; else empty',
    `fleet_gpu_model` LowCardinality(String) COMMENT 'The GPU model, if only one in the pool fits; else as in gpu_model'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Kinds of capacity requests, each matched to the fleet.'
AS WITH
    (f.gpu_model != '') AND ((r.gpu_model = '') OR (positionCaseInsensitiveUTF8(f.gpu_model, r.gpu_model) > 0)) AS fits
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
GROUP BY
    request_group,
    team,
    pool,
    model,
    endpoint,
    use_case;

CREATE VIEW request_review
(
    `id` String COMMENT 'Capacity request',
    `team` LowCardinality(String) COMMENT 'Who asks',
    `pool` LowCardinality(String) COMMENT 'In which pool',
    `model` LowCardinality(String) COMMENT 'For which model; empty: any',
    `endpoint` LowCardinality(String) COMMENT 'For which endpoint; empty: any',
    `use_case` LowCardinality(String) COMMENT 'For which use case; empty: any',
    `gpu_model` LowCardinality(String) COMMENT 'Part of the GPU model name wanted; empty: any',
    `status` LowCardinality(String) COMMENT 'proposed, approved, rejected or withdrawn',
    `owner` String COMMENT 'Person or group that answers for it',
    `requested_gpus` Float64 COMMENT 'GPUs requested',
    `allocated_gpus_p95` Nullable(Float64) COMMENT 'GPUs allocated at a time, 95th percentile of minutes; NULL: nothing observed',
    `used_gpus_p50` Nullable(Float64) COMMENT 'GPUs active at a time, median of minutes; NULL: nothing observed',
    `used_gpus_p95` Nullable(Float64) COMMENT 'GPUs active at a time, 95th percentile of minutes; NULL: nothing observed',
    `used_gpus_max` Nullable(Float64) COMMENT 'GPUs active at a time, highest minute; NULL: nothing observed',
    `gpu_memory_gib` Nullable(Float64) COMMENT 'Memory that the team expects to need on each GPU, GiB; NULL: not said',
    `measured_memory_gib_p99` Nullable(Float64) COMMENT 'Memory measured on one GPU, 99th percentile of the time present, GiB, within 0.01; NULL: the driver does not say',
    `expected_sm_pct` Nullable(Float64) COMMENT 'SM use that the team expects, percent; NULL: not said',
    `measured_sm_pct` Nullable(Float64) COMMENT 'SM use measured, mean of the time held, percent; NULL: nothing measured',
    `observed_hours` Float64 COMMENT 'Hours of telemetry that this rests on',
    `reclaimable_gpus` Float64 COMMENT 'requested_gpus - used_gpus_p95, rounded down to whole GPUs, at least 0',
    `verdict` LowCardinality(String) COMMENT 'not_in_force: not approved, not begun or over. no_data: no telemetry yet. unused: never active. oversized: at least one GPU reclaimable. undersized: allocated_gpus_p95 above requested_gpus. fits: none of these'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Every capacity request beside what it was used for.'
AS WITH
    (
        SELECT max(c.last_seen)
        FROM capacity_hourly AS c
    ) AS newest,
    latest AS
    (
        SELECT
            id,
            argMax(tuple(team, pool, model, endpoint, use_case, gpu_model, toString(status), owner, toFloat64(gpus), toNullable(toFloat64(expected_sm_pct)), toNullable(toFloat64(gpu_memory_gib))), applied_at) AS request
        FROM capacity_requests
        GROUP BY id
    ),
    in_force AS
    (
        SELECT
            id,
            request_group,
            any(r.observed_pool) AS observed_pool,
            greatest(min(r.counts_from), newest - toIntervalDay(7)) AS since,
            argMax(r.gpus, r.counts_from) AS gpus,
            gpus / sum(gpus) OVER (PARTITION BY request_group) AS part
        FROM requests_in_force AS r
        GROUP BY
            id,
            request_group
        HAVING (max(r.counts_until) > now()) AND (since < newest)
    ),
    got AS
    (
        SELECT
            hour,
            request_group,
            sumForEach(u.allocated_gpu_ms_by_minute) AS allocated_by_minute,
            sumForEach(arrayMap((active, unmeasured) -> (active + unmeasured), u.active_gpu_ms_by_minute, u.unmeasured_gpu_ms_by_minute)) AS used_by_minute,
            sum(u.held_ms - u.unmeasured_ms) AS measured,
            sum(u.busy_ms) AS busy,
            groupArrayArray(mapKeys(u.mem_mib_histogram)) AS memory,
            groupArrayArray(mapValues(u.mem_mib_histogram)) AS memory_ms
        FROM usage_by_request AS u
        WHERE (hour >= toStartOfHour(newest - toIntervalDay(7))) AND (u.request_group != 0)
        GROUP BY
            hour,
            request_group
    ),
    hours AS
    (
        SELECT
            i.id AS id,
            i.part AS part,
            arrayMap((minute, ms) -> ((ms > 0) AND ((o.hour + toIntervalMinute(minute)) >= toStartOfMinute(i.since))), range(60), o.observed_gpu_ms_by_minute) AS seen,
            arrayFilter((ms, look) -> look, arrayResize(g.allocated_by_minute, 60), seen) AS allocated,
            arrayFilter((ms, look) -> look, arrayResize(g.used_by_minute, 60), seen) AS used,
            g.measured AS measured,
            g.busy AS busy,
            g.memory AS memory,
            g.memory_ms AS memory_ms
        FROM in_force AS i
        INNER JOIN observed_hourly AS o ON o.pool = i.observed_pool
        LEFT JOIN got AS g ON (g.hour = o.hour) AND (g.request_group = i.request_group)
        WHERE o.hour >= toStartOfHour(i.since)
    ),
    evidence AS
    (
        SELECT
            id,
            sum(length(h.used)) AS minutes,
            (quantileExactArray(0.95)(h.allocated) * any(h.part)) / 60000 AS allocated_p95,
            arrayMap(ms -> ((ms * any(h.part)) / 60000), quantilesExactArray(0.5, 0.95, 1)(h.used)) AS used,
            sum(h.measured) AS measured,
            sum(h.busy) AS busy,
            max(notEmpty(h.memory)) AS memory_known,
            quantileExactWeightedArray(0.99)(h.memory, h.memory_ms) AS memory_p99
        FROM hours AS h
        GROUP BY id
    )
SELECT
    l.id AS id,
    l.request.1 AS team,
    l.request.2 AS pool,
    l.request.3 AS model,
    l.request.4 AS endpoint,
    l.request.5 AS use_case,
    l.request.6 AS gpu_model,
    l.request.7 AS status,
    l.request.8 AS owner,
    l.request.9 AS requested_gpus,
    if(e.minutes > 0, e.allocated_p95, NULL) AS allocated_gpus_p95,
    if(e.minutes > 0, e.used[1], NULL) AS used_gpus_p50,
    if(e.minutes > 0, e.used[2], NULL) AS used_gpus_p95,
    if(e.minutes > 0, e.used[3], NULL) AS used_gpus_max,
    l.request.11 AS gpu_memory_gib,
    if(e.memory_known, (e.memory_p99 + 8) / 1024, NULL) AS measured_memory_gib_p99,
    l.request.10 AS expected_sm_pct,
    if(e.measured > 0, (100 * e.busy) / e.measured, NULL) AS measured_sm_pct,
    e.minutes / 60 AS observed_hours,
    greatest(floor(ifNull(requested_gpus - used_gpus_p95, 0)), 0) AS reclaimable_gpus,
    multiIf(i.id = '', 'not_in_force', e.minutes = 0, 'no_data', used_gpus_max = 0, 'unused', reclaimable_gpus > 0, 'oversized', allocated_gpus_p95 > requested_gpus, 'undersized', 'fits') AS verdict
FROM latest AS l
LEFT JOIN
(
    SELECT id
    FROM requests_in_force AS r
    WHERE (r.counts_from <= now()) AND (r.counts_until > now())
) AS i ON i.id = l.id
LEFT JOIN evidence AS e ON e.id = l.id;

CREATE VIEW requested_hourly
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour; hours without telemetry of the pool are left out',
    `id` String COMMENT 'Capacity request',
    `request_group` UInt64 COMMENT 'Same for requests that ask for the same',
    `requested_gpu_hours` Float64 COMMENT 'GPUs requested x the observed part of the hour that the request covers, GPU-hours'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'What every capacity request asked for, by hour.'
AS SELECT
    o.hour AS hour,
    r.id AS id,
    r.request_group AS request_group,
    sum(r.gpus * dateDiff('second', greatest(o.seen_from, r.counts_from), least(o.seen_until, r.counts_until))) / 3600 AS requested_gpu_hours
FROM observed_hourly AS o
INNER JOIN requests_in_force AS r ON r.observed_pool = o.pool
WHERE (r.counts_from < o.seen_until) AND (r.counts_until > o.seen_from)
GROUP BY
    hour,
    id,
    request_group;

CREATE VIEW requests_in_force
(
    `id` String COMMENT 'Capacity request',
    `request_group` UInt64 COMMENT 'Same for requests that ask for the same: team, pool, model, endpoint, use case and GPU model',
    `team` LowCardinality(String) COMMENT 'Who asks',
    `pool` LowCardinality(String) COMMENT 'In which pool',
    `model` LowCardinality(String) COMMENT 'For which model; empty: any',
    `endpoint` LowCardinality(String) COMMENT 'For which endpoint; empty: any',
    `use_case` LowCardinality(String) COMMENT 'For which use case; empty: any',
    `gpu_model` LowCardinality(String) COMMENT 'Part of the GPU model name wanted; empty: any',
    `gpus` Float64 COMMENT 'GPUs requested',
    `counts_from` DateTime('UTC') COMMENT 'From when on this version counts',
    `counts_until` DateTime('UTC') COMMENT 'Until when this version counts; far in the future if there is no end',
    `observed_pool` LowCardinality(String) COMMENT 'Pool of observed_hourly whose telemetry tells: its own if it has GPUs; empty, all of the fleet, if it is only the name of work on the GPUs of others'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Approved versions of capacity requests with the time in which each counts.'
AS WITH
    versions AS
    (
        SELECT
            id,
            applied_at,
            request_group,
            team,
            pool,
            model,
            endpoint,
            use_case,
            gpu_model,
            gpus,
            requested_from,
            requested_until,
            status,
            row_number() OVER history AS number,
            leadInFrame(toNullable(applied_at)) OVER history AS replaced_at
        FROM capacity_requests
        WINDOW history AS (PARTITION BY id ORDER BY applied_at ASC ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    )
SELECT
    id,
    request_group,
    team,
    pool,
    model,
    endpoint,
    use_case,
    gpu_model,
    toFloat64(v.gpus) AS gpus,
    if(v.number = 1, v.requested_from, greatest(v.requested_from, toDateTime(v.applied_at, 'UTC'))) AS counts_from,
    least(ifNull(v.requested_until, toDateTime('2106-01-01 00:00:00', 'UTC')), ifNull(toDateTime(v.replaced_at, 'UTC'), toDateTime('2106-01-01 00:00:00', 'UTC'))) AS counts_until,
    if((v.pool IN (
        SELECT host_pool
        FROM fleet_seen
    )), v.pool, '') AS observed_pool
FROM versions AS v
WHERE (v.status = 'approved') AND (counts_from < counts_until);

CREATE VIEW resource_profile
(
    `day` Date COMMENT 'Day, UTC',
    `team` LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    `model` LowCardinality(String) COMMENT 'Model; empty: not said',
    `endpoint` LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `mem_mib_min` Nullable(UInt32) COMMENT 'Least memory on one GPU, mean of a window, MiB; NULL: the driver does not say',
    `mem_mib_p50` Nullable(Float64) COMMENT 'Memory on one GPU, median, MiB, within 8',
    `mem_mib_p95` Nullable(Float64) COMMENT 'Memory on one GPU, 95th percentile, MiB, within 8',
    `mem_mib_p99` Nullable(Float64) COMMENT 'Memory on one GPU, 99th percentile, MiB, within 8',
    `mem_mib_max` Nullable(UInt32) COMMENT 'Most memory on one GPU at any tick, MiB',
    `sm_pct_min` Nullable(UInt8) COMMENT 'Least SM use of one GPU, mean of a window, percent of a whole GPU; NULL: never measured',
    `sm_pct_p50` Nullable(Float64) COMMENT 'SM use of one GPU, median, percent of a whole GPU',
    `sm_pct_p95` Nullable(Float64) COMMENT 'SM use of one GPU, 95th percentile, percent of a whole GPU',
    `sm_pct_p99` Nullable(Float64) COMMENT 'SM use of one GPU, 99th percentile, percent of a whole GPU',
    `sm_pct_max` Nullable(UInt8) COMMENT 'Highest SM use sampled at any tick, percent',
    `used_gpus_p50` Float64 COMMENT 'GPUs active at a time, median of minutes, whole GPUs',
    `used_gpus_p95` Float64 COMMENT 'GPUs active at a time, 95th percentile of minutes, whole GPUs',
    `used_gpus_max` Float64 COMMENT 'GPUs active at a time, highest minute, whole GPUs',
    `allocated_gpus_p50` Float64 COMMENT 'GPUs allocated at a time, median of minutes, whole GPUs',
    `allocated_gpus_p95` Float64 COMMENT 'GPUs allocated at a time, 95th percentile of minutes, whole GPUs',
    `used_minutes` Map(UInt64, UInt64) COMMENT 'GPU time active in a minute, milliseconds of a whole GPU -> minutes of the day in which anything was allocated; adds up over days',
    `allocated_minutes` Map(UInt64, UInt64) COMMENT 'GPU time allocated in a minute, milliseconds of a whole GPU -> minutes of the day; adds up over days',
    `held_gpu_hours` Float64 COMMENT 'A process was there, GPU-hours',
    `unmeasured_gpu_hours` Float64 COMMENT 'Held, and nobody can say whether the SMs were busy, GPU-hours'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Measured needs of every owner, by day: memory and SM use per GPU, GPUs in use at a time.'
AS WITH
    hours AS
    (
        SELECT
            hour,
            team,
            model,
            endpoint,
            pool,
            gpu_model,
            sum(u.held_ms) AS held,
            sum(u.unmeasured_ms) AS unmeasured,
            minIf(u.mem_mib_min, u.mem_known_ms > 0) AS mem_min,
            max(u.mem_mib_max) AS mem_max,
            sum(u.mem_known_ms) AS mem_ms,
            groupArrayArray(mapKeys(u.mem_mib_histogram)) AS mem_values,
            groupArrayArray(mapValues(u.mem_mib_histogram)) AS mem_weights,
            max(u.sm_pct_max) AS sm_max,
            groupArrayArray(mapKeys(u.sm_pct_histogram)) AS sm_values,
            groupArrayArray(mapValues(u.sm_pct_histogram)) AS sm_weights,
            sumForEach(u.active_gpu_ms_by_minute) AS active_by_minute,
            sumForEach(u.unmeasured_gpu_ms_by_minute) AS unmeasured_by_minute,
            sumForEach(u.allocated_gpu_ms_by_minute) AS allocated_by_minute
        FROM usage_hourly AS u
        WHERE u.hour >= toDateTime((
            SELECT hours_from
            FROM read_by_hour
        ), 'UTC')
        GROUP BY
            hour,
            team,
            model,
            endpoint,
            pool,
            gpu_model
    ),
    days AS
    (
        WITH
            arrayFilter((used, allocated) -> (allocated > 0), arrayMap((a, u) -> (a + u), h.active_by_minute, h.unmeasured_by_minute), h.allocated_by_minute) AS used_then,
            arrayFilter(allocated -> (allocated > 0), h.allocated_by_minute) AS allocated_then,
            arrayMap(minute -> toUInt64(1), allocated_then) AS minutes
        SELECT
            toDate(h.hour) AS day,
            team,
            model,
            endpoint,
            pool,
            gpu_model,
            sum(h.held) AS held,
            sum(h.unmeasured) AS unmeasured,
            sum(h.mem_ms) > 0 AS mem_known,
            minIf(h.mem_min, h.mem_ms > 0) AS mem_min,
            max(h.mem_max) AS mem_max,
            quantilesExactWeightedArray(0.5, 0.95, 0.99)(h.mem_values, h.mem_weights) AS mem,
            max(h.sm_max) AS sm_max,
            max(notEmpty(h.sm_values)) AS sm_known,
            minArray(h.sm_values) AS sm_min,
            quantilesExactWeightedArray(0.5, 0.95, 0.99)(h.sm_values, h.sm_weights) AS sm,
            quantilesExactArray(0.5, 0.95, 1)(used_then) AS used,
            quantilesExactArray(0.5, 0.95)(allocated_then) AS allocated,
            sumMap(used_then, minutes) AS used_minutes,
            sumMap(allocated_then, minutes) AS allocated_minutes
        FROM hours AS h
        GROUP BY
            day,
            team,
            model,
            endpoint,
            pool,
            gpu_model
    )
SELECT
    day,
    if(d.team = '', 'unattributed', d.team) AS team,
    model,
    endpoint,
    pool,
    gpu_model,
    if(mem_known, d.mem_min, NULL) AS mem_mib_min,
    if(mem_known, greatest(least((d.mem[1]) + 8, d.mem_max), d.mem_min), NULL) AS mem_mib_p50,
    if(mem_known, greatest(least((d.mem[2]) + 8, d.mem_max), d.mem_min), NULL) AS mem_mib_p95,
    if(mem_known, greatest(least((d.mem[3]) + 8, d.mem_max), d.mem_min), NULL) AS mem_mib_p99,
    if(mem_known, d.mem_max, NULL) AS mem_mib_max,
    if(sm_known, d.sm_min, NULL) AS sm_pct_min,
    if(sm_known, d.sm[1], NULL) AS sm_pct_p50,
    if(sm_known, d.sm[2], NULL) AS sm_pct_p95,
    if(sm_known, d.sm[3], NULL) AS sm_pct_p99,
    if(sm_known, d.sm_max, NULL) AS sm_pct_max,
    (d.used[1]) / 60000 AS used_gpus_p50,
    (d.used[2]) / 60000 AS used_gpus_p95,
    (d.used[3]) / 60000 AS used_gpus_max,
    (d.allocated[1]) / 60000 AS allocated_gpus_p50,
    (d.allocated[2]) / 60000 AS allocated_gpus_p95,
    mapFromArrays(d.used_minutes.1, d.used_minutes.2) AS used_minutes,
    mapFromArrays(d.allocated_minutes.1, d.allocated_minutes.2) AS allocated_minutes,
    d.held / 3600000 AS held_gpu_hours,
    d.unmeasured / 3600000 AS unmeasured_gpu_hours
FROM days AS d
UNION ALL
WITH
    hours AS
    (
        SELECT
            hour,
            team,
            model,
            endpoint,
            pool,
            gpu_model,
            sum(u.held_ms) AS held,
            sum(u.unmeasured_ms) AS unmeasured,
            minIf(u.mem_mib_min, u.mem_known_ms > 0) AS mem_min,
            max(u.mem_mib_max) AS mem_max,
            sum(u.mem_known_ms) AS mem_ms,
            groupArrayArray(mapKeys(u.mem_mib_histogram)) AS mem_values,
            groupArrayArray(mapValues(u.mem_mib_histogram)) AS mem_weights,
            max(u.sm_pct_max) AS sm_max,
            groupArrayArray(mapKeys(u.sm_pct_histogram)) AS sm_values,
            groupArrayArray(mapValues(u.sm_pct_histogram)) AS sm_weights,
            sumForEach(u.active_gpu_ms_by_minute) AS active_by_minute,
            sumForEach(u.unmeasured_gpu_ms_by_minute) AS unmeasured_by_minute,
            sumForEach(u.allocated_gpu_ms_by_minute) AS allocated_by_minute
        FROM usage_hourly AS u
        WHERE u.hour >= toDateTime((
            SELECT hours_from
            FROM read_by_hour
        ), 'UTC')
        GROUP BY
            hour,
            team,
            model,
            endpoint,
            pool,
            gpu_model
    ),
    days AS
    (
        WITH
            arrayFilter((used, allocated) -> (allocated > 0), arrayMap((a, u) -> (a + u), h.active_by_minute, h.unmeasured_by_minute), h.allocated_by_minute) AS used_then,
            arrayFilter(allocated -> (allocated > 0), h.allocated_by_minute) AS allocated_then,
            arrayMap(minute -> toUInt64(1), allocated_then) AS minutes
        SELECT
            toDate(h.hour) AS day,
            team,
            model,
            endpoint,
            pool,
            gpu_model,
            sum(h.held) AS held,
            sum(h.unmeasured) AS unmeasured,
            sum(h.mem_ms) > 0 AS mem_known,
            minIf(h.mem_min, h.mem_ms > 0) AS mem_min,
            max(h.mem_max) AS mem_max,
            quantilesExactWeightedArray(0.5, 0.95, 0.99)(h.mem_values, h.mem_weights) AS mem,
            max(h.sm_max) AS sm_max,
            max(notEmpty(h.sm_values)) AS sm_known,
            minArray(h.sm_values) AS sm_min,
            quantilesExactWeightedArray(0.5, 0.95, 0.99)(h.sm_values, h.sm_weights) AS sm,
            quantilesExactArray(0.5, 0.95, 1)(used_then) AS used,
            quantilesExactArray(0.5, 0.95)(allocated_then) AS allocated,
            sumMap(used_then, minutes) AS used_minutes,
            sumMap(allocated_then, minutes) AS allocated_minutes
        FROM hours AS h
        GROUP BY
            day,
            team,
            model,
            endpoint,
            pool,
            gpu_model
    )
SELECT
    day,
    team,
    model,
    endpoint,
    pool,
    gpu_model,
    mem_mib_min,
    mem_mib_p50,
    mem_mib_p95,
    mem_mib_p99,
    mem_mib_max,
    sm_pct_min,
    sm_pct_p50,
    sm_pct_p95,
    sm_pct_p99,
    sm_pct_max,
    used_gpus_p50,
    used_gpus_p95,
    used_gpus_max,
    allocated_gpus_p50,
    allocated_gpus_p95,
    used_minutes,
    allocated_minutes,
    held_gpu_hours,
    unmeasured_gpu_hours
FROM resource_profile_versions
FINAL
WHERE (day < (
    SELECT hours_from
    FROM read_by_hour
)) AND ((day, computed_at) IN (
    SELECT
        day,
        max(computed_at)
    FROM rolled_days
    GROUP BY day
));

CREATE TABLE resource_profile_versions
(
    `day` Date COMMENT 'Day, UTC' CODEC(DoubleDelta, ZSTD(1)),
    `computed_at` DateTime64(6, 'UTC') COMMENT 'Version of the day' CODEC(DoubleDelta, ZSTD(1)),
    `team` LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    `model` LowCardinality(String) COMMENT 'Model; empty: not said',
    `endpoint` LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `mem_mib_min` Nullable(UInt32) COMMENT 'Least memory on one GPU, mean of a window, MiB; NULL: the driver does not say' CODEC(ZSTD(1)),
    `mem_mib_p50` Nullable(Float64) COMMENT 'Memory on one GPU, median, MiB, within 8' CODEC(ZSTD(1)),
    `mem_mib_p95` Nullable(Float64) COMMENT 'Memory on one GPU, 95th percentile, MiB, within 8' CODEC(ZSTD(1)),
    `mem_mib_p99` Nullable(Float64) COMMENT 'Memory on one GPU, 99th percentile, MiB, within 8' CODEC(ZSTD(1)),
    `mem_mib_max` Nullable(UInt32) COMMENT 'Most memory on one GPU at any tick, MiB' CODEC(ZSTD(1)),
    `sm_pct_min` Nullable(UInt8) COMMENT 'Least SM use of one GPU, mean of a window, percent of a whole GPU; NULL: never measured' CODEC(ZSTD(1)),
    `sm_pct_p50` Nullable(Float64) COMMENT 'SM use of one GPU, median, percent of a whole GPU' CODEC(ZSTD(1)),
    `sm_pct_p95` Nullable(Float64) COMMENT 'SM use of one GPU, 95th percentile, percent of a whole GPU' CODEC(ZSTD(1)),
    `sm_pct_p99` Nullable(Float64) COMMENT 'SM use of one GPU, 99th percentile, percent of a whole GPU' CODEC(ZSTD(1)),
    `sm_pct_max` Nullable(UInt8) COMMENT 'Highest SM use sampled at any tick, percent' CODEC(ZSTD(1)),
    `used_gpus_p50` Float64 COMMENT 'GPUs active at a time, median of minutes, whole GPUs' CODEC(ZSTD(1)),
    `used_gpus_p95` Float64 COMMENT 'GPUs active at a time, 95th percentile of minutes, whole GPUs' CODEC(ZSTD(1)),
    `used_gpus_max` Float64 COMMENT 'GPUs active at a time, highest minute, whole GPUs' CODEC(ZSTD(1)),
    `allocated_gpus_p50` Float64 COMMENT 'GPUs allocated at a time, median of minutes, whole GPUs' CODEC(ZSTD(1)),
    `allocated_gpus_p95` Float64 COMMENT 'GPUs allocated at a time, 95th percentile of minutes, whole GPUs' CODEC(ZSTD(1)),
    `used_minutes` Map(UInt64, UInt64) COMMENT 'GPU time active in a minute, milliseconds of a whole GPU -> minutes of the day in which anything was allocated; adds up over days' CODEC(ZSTD(1)),
    `allocated_minutes` Map(UInt64, UInt64) COMMENT 'GPU time allocated in a minute, milliseconds of a whole GPU -> minutes of the day; adds up over days' CODEC(ZSTD(1)),
    `held_gpu_hours` Float64 COMMENT 'A process was there, GPU-hours' CODEC(ZSTD(1)),
    `unmeasured_gpu_hours` Float64 COMMENT 'Held, and nobody can say whether the SMs were busy, GPU-hours' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, computed_at, pool, team, model, endpoint, gpu_model)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'Measured needs of every owner, by day, all versions. Read resource_profile instead.';

CREATE TABLE retention
(
    `kind` LowCardinality(String) COMMENT 'raw: windows. hourly: hours. daily: days',
    `days` UInt32 COMMENT 'Days that are kept, the present one included; 0: for ever',
    `stated` LowCardinality(String) COMMENT 'The same as it was set: 14d, 13mo, 2y or forever',
    `applied_at` DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC') COMMENT 'From when on',
    `whole_from` DateTime('UTC') COMMENT 'Start of the first day that earlier settings had left whole by then; 1970-01-01: all there were'
)
ENGINE = MergeTree
ORDER BY (kind, applied_at)
SETTINGS index_granularity = 8192
COMMENT 'How long things are kept, every setting there was; the latest counts. Written by gpuledger migrate, together with the TTLs.';

CREATE TABLE rolled_days
(
    `day` Date COMMENT 'Day, UTC',
    `computed_at` DateTime64(6, 'UTC') COMMENT 'Version of the day that counts: when its computation began, by the clock of ClickHouse'
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(day)
ORDER BY day
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'Which version of each day counts: the newest.';

CREATE TABLE rolled_hours
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour',
    `computed_at` DateTime64(6, 'UTC') COMMENT 'Version of the hour that counts: when its computation began, by the clock of ClickHouse',
    `rolled_at` DateTime64(6, 'UTC') COMMENT 'When the latest roll-up of the hour began; later than computed_at if it had to keep the version'
)
ENGINE = ReplacingMergeTree(rolled_at)
PARTITION BY toYYYYMM(hour)
ORDER BY hour
TTL toStartOfDay(hour) + toIntervalHour(9673)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'Which version of each rolled-up hour counts: the newest.';

CREATE TABLE rule_evaluations
(
    `rule` LowCardinality(String) COMMENT 'Rule',
    `evaluated_at` DateTime64(6, 'UTC') COMMENT 'Begin of the evaluation',
    `found` UInt64 COMMENT 'Findings open afterwards',
    `error` String COMMENT 'Why it failed; empty: it did not. Its findings then stay as they were'
)
ENGINE = ReplacingMergeTree
ORDER BY (rule, evaluated_at)
TTL toDateTime(evaluated_at) + toIntervalDay(30)
SETTINGS index_granularity = 8192
COMMENT 'When which rule was evaluated.';

CREATE VIEW scaling_verdict
(
    `day` Date COMMENT 'Day, UTC',
    `team` LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    `model` LowCardinality(String) COMMENT 'Model; empty: not said',
    `endpoint` LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    `requests` UInt64 COMMENT 'Requests that ended, well or not',
    `hours_judged` UInt32 COMMENT 'Hours with an objective in force and requests',
    `hours_met` UInt32 COMMENT 'Hours in which the objective was met',
    `hours_missed` UInt32 COMMENT 'Hours in which it was missed',
    `hours_unclear` UInt32 COMMENT 'Hours of which histograms cannot tell',
    `attainment_pct_low` Nullable(Float64) COMMENT 'Hours that met the objective, at least, percent of those judged; NULL: none judged',
    `attainment_pct_high` Nullable(Float64) COMMENT 'The same, at most, percent',
    `target_attainment_pct` Nullable(Float64) COMMENT 'The same as promised in the last hour judged, percent',
    `load_pct_mean` Nullable(Float64) COMMENT 'How full its GPUs and servers were, the higher of SM and KV cache use, mean of hours with requests, percent; NULL: nothing measured',
    `load_pct_peak` Nullable(Float64) COMMENT 'The same, highest hour, percent',
    `missed_load_pct` Nullable(Float64) COMMENT 'The same, mean of the hours missed, percent; NULL: none missed, or nothing measured',
    `gpus` Float64 COMMENT 'GPUs allocated, mean of hours with traffic telemetry, whole GPUs',
    `verdict` LowCardinality(String) COMMENT 'enough: the objective is met. tune: missed with headroom; batch, quantize or route. grow: missed while full. unclear: histograms cannot tell, or load was not measured. no_objective: none in force in an hour with requests'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Attainment crossed with utilization, by day and endpoint: whether more GPUs would help. See docs/slos.md.'
AS WITH
    days AS
    (
        SELECT
            toDate(a.hour) AS day,
            team,
            model,
            endpoint,
            sum(a.requests) AS requests,
            toUInt32(countIf(a.outcome = 'met')) AS hours_met,
            toUInt32(countIf(a.outcome = 'missed')) AS hours_missed,
            toUInt32(countIf(a.outcome = 'unclear')) AS hours_unclear,
            toUInt32((hours_met + hours_missed) + hours_unclear) AS hours_judged,
            argMaxIf(a.target_attainment_pct, a.hour, (a.outcome IN ('met', 'missed', 'unclear'))) AS target_attainment_pct,
            avgIf(a.load_pct, a.requests > 0) AS load_pct_mean,
            maxIf(a.load_pct, a.requests > 0) AS load_pct_peak,
            avgIf(a.load_pct, a.outcome = 'missed') AS missed_load_pct,
            avg(a.gpus) AS gpus
        FROM slo_attainment AS a
        WHERE a.hour >= toDateTime((
            SELECT slos_from
            FROM read_by_hour
        ), 'UTC')
        GROUP BY
            day,
            team,
            model,
            endpoint
    )
SELECT
    day,
    team,
    model,
    endpoint,
    requests,
    hours_judged,
    hours_met,
    hours_missed,
    hours_unclear,
    if(d.hours_judged = 0, NULL, (100 * d.hours_met) / d.hours_judged) AS attainment_pct_low,
    if(d.hours_judged = 0, NULL, (100 * (d.hours_met + d.hours_unclear)) / d.hours_judged) AS attainment_pct_high,
    target_attainment_pct,
    load_pct_mean,
    load_pct_peak,
    missed_load_pct,
    gpus,
    multiIf(d.hours_judged = 0, 'no_objective', attainment_pct_low >= d.target_attainment_pct, 'enough', (attainment_pct_high >= d.target_attainment_pct) OR (d.missed_load_pct IS NULL), 'unclear', d.missed_load_pct < 85, 'tune', 'grow') AS verdict
FROM days AS d
UNION ALL
WITH
    days AS
    (
        SELECT
            toDate(a.hour) AS day,
            team,
            model,
            endpoint,
            sum(a.requests) AS requests,
            toUInt32(countIf(a.outcome = 'met')) AS hours_met,
            toUInt32(countIf(a.outcome = 'missed')) AS hours_missed,
            toUInt32(countIf(a.outcome = 'unclear')) AS hours_unclear,
            toUInt32((hours_met + hours_missed) + hours_unclear) AS hours_judged,
            argMaxIf(a.target_attainment_pct, a.hour, (a.outcome IN ('met', 'missed', 'unclear'))) AS target_attainment_pct,
            avgIf(a.load_pct, a.requests > 0) AS load_pct_mean,
            maxIf(a.load_pct, a.requests > 0) AS load_pct_peak,
            avgIf(a.load_pct, a.outcome = 'missed') AS missed_load_pct,
            avg(a.gpus) AS gpus
        FROM slo_attainment AS a
        WHERE a.hour >= toDateTime((
            SELECT slos_from
            FROM read_by_hour
        ), 'UTC')
        GROUP BY
            day,
            team,
            model,
            endpoint
    )
SELECT
    day,
    team,
    model,
    endpoint,
    requests,
    hours_judged,
    hours_met,
    hours_missed,
    hours_unclear,
    attainment_pct_low,
    attainment_pct_high,
    target_attainment_pct,
    load_pct_mean,
    load_pct_peak,
    missed_load_pct,
    gpus,
    verdict
FROM scaling_verdict_versions
FINAL
WHERE (day < (
    SELECT slos_from
    FROM read_by_hour
)) AND ((day, computed_at) IN (
    SELECT
        day,
        max(computed_at)
    FROM rolled_days
    GROUP BY day
));

CREATE TABLE scaling_verdict_versions
(
    `day` Date COMMENT 'Day, UTC' CODEC(DoubleDelta, ZSTD(1)),
    `computed_at` DateTime64(6, 'UTC') COMMENT 'Version of the day' CODEC(DoubleDelta, ZSTD(1)),
    `team` LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    `model` LowCardinality(String) COMMENT 'Model; empty: not said',
    `endpoint` LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    `requests` UInt64 COMMENT 'Requests that ended, well or not' CODEC(T64, ZSTD(1)),
    `hours_judged` UInt32 COMMENT 'Hours with an objective in force and requests' CODEC(T64, ZSTD(1)),
    `hours_met` UInt32 COMMENT 'Hours in which the objective was met' CODEC(T64, ZSTD(1)),
    `hours_missed` UInt32 COMMENT 'Hours in which it was missed' CODEC(T64, ZSTD(1)),
    `hours_unclear` UInt32 COMMENT 'Hours of which histograms cannot tell' CODEC(T64, ZSTD(1)),
    `attainment_pct_low` Nullable(Float64) COMMENT 'Hours that met the objective, at least, percent of those judged; NULL: none judged' CODEC(ZSTD(1)),
    `attainment_pct_high` Nullable(Float64) COMMENT 'The same, at most, percent' CODEC(ZSTD(1)),
    `target_attainment_pct` Nullable(Float64) COMMENT 'The same as promised in the last hour judged, percent' CODEC(ZSTD(1)),
    `load_pct_mean` Nullable(Float64) COMMENT 'How full its GPUs and servers were, the higher of SM and KV cache use, mean of hours with requests, percent; NULL: nothing measured' CODEC(ZSTD(1)),
    `load_pct_peak` Nullable(Float64) COMMENT 'The same, highest hour, percent' CODEC(ZSTD(1)),
    `missed_load_pct` Nullable(Float64) COMMENT 'The same, mean of the hours missed, percent; NULL: none missed, or nothing measured' CODEC(ZSTD(1)),
    `gpus` Float64 COMMENT 'GPUs allocated, mean of hours with traffic telemetry, whole GPUs' CODEC(ZSTD(1)),
    `verdict` LowCardinality(String) COMMENT 'enough: the objective is met. tune: missed with headroom; batch, quantize or route. grow: missed while full. unclear: histograms cannot tell, or load was not measured. no_objective: none in force in an hour with requests'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, computed_at, team, model, endpoint)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'Attainment crossed with utilization, by day, all versions. Read scaling_verdict instead.';

CREATE TABLE schema_migrations
(
    `name` String COMMENT 'File name of the migration; "views" stands for all views together',
    `checksum` String COMMENT 'SHA-256 of its text',
    `applied_at` DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was applied'
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY name
SETTINGS index_granularity = 8192
COMMENT 'Migrations that this database has seen. Written by gpuledger migrate.';

CREATE VIEW slo_attainment
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour',
    `team` LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    `model` LowCardinality(String) COMMENT 'Model; empty: not said',
    `endpoint` LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    `requests` UInt64 COMMENT 'Requests that ended, well or not',
    `errors` Nullable(UInt64) COMMENT 'Requests that failed; NULL: not offered',
    `target_latency_ms` Nullable(UInt32) COMMENT 'Latency that requests must stay inside, milliseconds; NULL: no objective in force at the start of the hour',
    `target_percentile` Nullable(Float64) COMMENT 'Share of the requests that must stay inside, percent',
    `inside_pct` Nullable(Float64) COMMENT 'Requests inside target_latency_ms, percent, as if they lay evenly in their bucket; NULL: no objective, no requests, or latency not offered',
    `inside_pct_low` Nullable(Float64) COMMENT 'The same, at least, percent',
    `inside_pct_high` Nullable(Float64) COMMENT 'The same, at most, percent',
    `latency_ms_mean` Nullable(Float64) COMMENT 'Latency, mean, milliseconds; NULL: not offered',
    `latency_ms_p50` Nullable(Float64) COMMENT 'Latency, median, as if requests lay evenly in their bucket, milliseconds; NULL: not offered, or above the last bucket',
    `latency_ms_p50_low` Nullable(Float64) COMMENT 'The same, at least, milliseconds',
    `latency_ms_p50_high` Nullable(Float64) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit',
    `latency_ms_p95` Nullable(Float64) COMMENT 'Latency, 95th percentile, as if requests lay evenly in their bucket, milliseconds; NULL: not offered, or above the last bucket',
    `latency_ms_p95_low` Nullable(Float64) COMMENT 'The same, at least, milliseconds',
    `latency_ms_p95_high` Nullable(Float64) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit',
    `latency_ms_p99` Nullable(Float64) COMMENT 'Latency, 99th percentile, as if requests lay evenly in their bucket, milliseconds; NULL: not offered, or above the last bucket',
    `latency_ms_p99_low` Nullable(Float64) COMMENT 'The same, at least, milliseconds',
    `latency_ms_p99_high` Nullable(Float64) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit',
    `ttft_ms_p95` Nullable(Float64) COMMENT 'Time to first token, 95th percentile, as if requests lay evenly in their bucket, milliseconds; NULL: not offered, or above the last bucket',
    `ttft_ms_p95_low` Nullable(Float64) COMMENT 'The same, at least, milliseconds',
    `ttft_ms_p95_high` Nullable(Float64) COMMENT 'The same, at most, milliseconds; NULL: not offered, or no limit',
    `target_rps` Nullable(Float64) COMMENT 'Requests per second that must be served, over all models of the objective; NULL: none said',
    `served_rps` Nullable(Float64) COMMENT 'Requests per second that did not fail, over all models of the objective, in the time observed',
    `waiting` Nullable(Float64) COMMENT 'Requests that waited at a time, mean, over all models of the objective; NULL: not offered',
    `sm_pct` Nullable(Float64) COMMENT 'SM use of its GPUs in the hour, mean of the time held, percent; NULL: nothing measured',
    `kv_cache_pct` Nullable(Float64) COMMENT 'KV cache of its servers in use, mean, percent; NULL: not offered',
    `load_pct` Nullable(Float64) COMMENT 'How full it is: the higher of sm_pct and kv_cache_pct, percent',
    `gpus` Float64 COMMENT 'GPUs allocated to it, mean of the hour, whole GPUs',
    `target_attainment_pct` Nullable(Float64) COMMENT 'Share of the hours in which the objective must be met, percent',
    `outcome` LowCardinality(String) COMMENT 'met. missed: inside_pct_high below target_percentile, or served_rps below target_rps while requests waited. unclear: the histogram cannot tell, or latency is not offered. no_traffic: nothing was asked. no_objective: none in force'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Requests inside the target by hour and endpoint, with the use of the GPUs beside it. See docs/slos.md.'
AS WITH
    promised AS
    (
        SELECT
            hour,
            team,
            model,
            endpoint,
            errors,
            observed_ms,
            observed_ms_by_minute,
            waiting_ms,
            waiting_known,
            latency_buckets,
            latency_counts,
            timed,
            latency_ms_mean,
            latency_ms_p50,
            latency_ms_p50_low,
            latency_ms_p50_high,
            latency_ms_p95,
            latency_ms_p95_low,
            latency_ms_p95_high,
            latency_ms_p99,
            latency_ms_p99_low,
            latency_ms_p99_high,
            ttft_ms_p95,
            ttft_ms_p95_low,
            ttft_ms_p95_high,
            kv_cache_pct,
            sm_pct,
            gpus,
            toInt64(ifNull(t.errors, 0)) AS lost,
            greatest(toInt64(t.requests), toInt64(t.timed)) AS total,
            arrayFirst(o -> ((o.model = t.model) AND (o.valid_from <= t.hour)), s.objectives) AS own,
            if(own.valid_until > t.hour, own, arrayFirst(o -> ((o.model = '') AND (o.valid_from <= t.hour)), s.objectives)) AS objective
        FROM endpoint_hourly_versions AS t
        FINAL
        LEFT JOIN slo_list AS s ON (s.team = t.team) AND (s.endpoint = t.endpoint)
        WHERE (t.hour >= (
            SELECT hourly_from
            FROM kept_from
        )) AND ((t.hour, t.computed_at) IN (
            SELECT
                hour,
                argMax(computed_at, rolled_at)
            FROM rolled_hours
            GROUP BY hour
        ))
    ),
    together AS
    (
        SELECT
            hour,
            team,
            endpoint,
            true AS shared,
            sum(p.total - p.lost) AS served,
            sum(p.waiting_ms) AS waiting_ms,
            max(p.waiting_known) AS waiting_known,
            arraySum(maxForEach(p.observed_ms_by_minute)) AS observed_ms
        FROM promised AS p
        WHERE ((team, endpoint) IN (
            SELECT
                team,
                endpoint
            FROM slos
            WHERE model = ''
        )) AND (p.objective.valid_until > hour) AND (p.objective.model = '')
        GROUP BY
            hour,
            team,
            endpoint
    ),
    judged AS
    (
        SELECT
            p.*,
            p.objective.valid_until > p.hour AS has_objective,
            1000 * toUInt64(p.objective.latency_ms) AS target_us,
            arraySum((upto, n) -> if(upto <= target_us, n, 0), p.latency_buckets.upto_us, p.latency_counts) AS surely,
            arraySum((above, n) -> if(above < target_us, n, 0), p.latency_buckets.above_us, p.latency_counts) AS possibly,
            arraySum((above, upto, n) -> multiIf(upto <= target_us, toFloat64(n), (above >= target_us) OR (upto = 18446744073709551615), toFloat64(0), (n * (target_us - above)) / (upto - above)), p.latency_buckets.above_us, p.latency_buckets.upto_us, p.latency_counts) AS evenly,
            least(p.lost, greatest((toInt64(p.timed) + p.lost) - p.total, 0)) AS lost_and_timed,
            greatest((p.total - (p.lost - lost_and_timed)) - toInt64(p.timed), 0) AS untimed,
            if(p.timed = 0, NULL, (100 * greatest(toInt64(surely) - lost_and_timed, 0)) / p.total) AS low,
            if(p.timed = 0, NULL, (100 * least(toInt64(possibly) + untimed, p.total - p.lost)) / p.total) AS high,
            if(p.timed = 0, NULL, ((100 * evenly) * (1 - (lost_and_timed / p.timed))) / (p.total - untimed)) AS evenly_pct
        FROM promised AS p
    )
SELECT
    j.hour AS hour,
    if(j.team = '', 'unattributed', j.team) AS team,
    j.model AS model,
    j.endpoint AS endpoint,
    toUInt64(j.total) AS requests,
    j.errors AS errors,
    if(has_objective, j.objective.latency_ms, NULL) AS target_latency_ms,
    if(has_objective, j.objective.percentile, NULL) AS target_percentile,
    if(has_objective, greatest(least(j.evenly_pct, j.high), j.low), NULL) AS inside_pct,
    if(has_objective, j.low, NULL) AS inside_pct_low,
    if(has_objective, j.high, NULL) AS inside_pct_high,
    j.latency_ms_mean AS latency_ms_mean,
    j.latency_ms_p50 AS latency_ms_p50,
    j.latency_ms_p50_low AS latency_ms_p50_low,
    j.latency_ms_p50_high AS latency_ms_p50_high,
    j.latency_ms_p95 AS latency_ms_p95,
    j.latency_ms_p95_low AS latency_ms_p95_low,
    j.latency_ms_p95_high AS latency_ms_p95_high,
    j.latency_ms_p99 AS latency_ms_p99,
    j.latency_ms_p99_low AS latency_ms_p99_low,
    j.latency_ms_p99_high AS latency_ms_p99_high,
    j.ttft_ms_p95 AS ttft_ms_p95,
    j.ttft_ms_p95_low AS ttft_ms_p95_low,
    j.ttft_ms_p95_high AS ttft_ms_p95_high,
    if(has_objective, j.objective.throughput_rps, NULL) AS target_rps,
    (1000 * if(c.shared, c.served, j.total - j.lost)) / nullIf(if(c.shared, c.observed_ms, j.observed_ms) AS watched_ms, 0) AS served_rps,
    if(if(c.shared, c.waiting_known, j.waiting_known), if(c.shared, c.waiting_ms, j.waiting_ms) / nullIf(watched_ms, 0), NULL) AS waiting,
    j.sm_pct AS sm_pct,
    j.kv_cache_pct AS kv_cache_pct,
    greatest(ifNull(sm_pct, kv_cache_pct), ifNull(kv_cache_pct, sm_pct)) AS load_pct,
    j.gpus AS gpus,
    if(has_objective, j.objective.attainment_pct, NULL) AS target_attainment_pct,
    multiIf(NOT has_objective, 'no_objective', j.total = 0, 'no_traffic', (j.high < j.objective.percentile) OR ((served_rps < j.objective.throughput_rps) AND (waiting >= 1)), 'missed', j.low >= j.objective.percentile, 'met', 'unclear') AS outcome
FROM judged AS j
LEFT JOIN together AS c ON (c.hour = j.hour) AND (c.team = j.team) AND (c.endpoint = j.endpoint) AND (c.shared = (j.has_objective AND (j.objective.model = '')));

CREATE VIEW slo_list
(
    `team` LowCardinality(String) COMMENT 'Team that the endpoint belongs to',
    `endpoint` LowCardinality(String) COMMENT 'Endpoint',
    `objectives` Array(Tuple(
        model String,
        valid_from DateTime('UTC'),
        valid_until DateTime('UTC'),
        latency_ms UInt32,
        percentile Float64,
        throughput_rps Nullable(Float64),
        attainment_pct Float64,
        owner String)) COMMENT 'Objectives, the latest to begin first: model (empty: any), from when on, until when (2106: no end), latency in milliseconds, percentile, requests a second (NULL: not said), percent of the hours, who answers for it'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Objectives by team and endpoint, in the order in which they are tried.'
AS SELECT
    team,
    endpoint,
    arrayReverseSort(objective -> (objective.2), groupArray((toString(s.model), s.valid_from, s.said.1, s.said.2, s.said.3, s.said.4, s.said.5, s.said.6))) AS objectives
FROM
(
    SELECT
        team,
        endpoint,
        model,
        valid_from,
        argMax(tuple(ifNull(slo.valid_until, toDateTime('2106-01-01 00:00:00', 'UTC')), slo.latency_ms, toFloat64(slo.percentile), toNullable(toFloat64(slo.throughput_rps)), toFloat64(slo.attainment_pct), slo.owner), applied_at) AS said
    FROM slos AS slo
    GROUP BY
        team,
        endpoint,
        model,
        valid_from
) AS s
GROUP BY
    team,
    endpoint;

CREATE TABLE slos
(
    `team` LowCardinality(String) COMMENT 'Team that the endpoint belongs to',
    `model` LowCardinality(String) COMMENT 'Model behind the endpoint; empty: any',
    `endpoint` LowCardinality(String) COMMENT 'Endpoint',
    `valid_from` DateTime('UTC') COMMENT 'From when on',
    `valid_until` Nullable(DateTime('UTC')) COMMENT 'Until when; NULL: no end',
    `latency_ms` UInt32 COMMENT 'Latency that requests must stay inside, milliseconds',
    `percentile` Decimal(6, 3) COMMENT 'Share of the requests that must stay inside, percent: 95 is a target for the p95',
    `throughput_rps` Nullable(Decimal(12, 3)) COMMENT 'Requests per second that must be served; NULL: not said',
    `attainment_pct` Decimal(6, 3) COMMENT 'Share of the hours in which all of this must hold, percent',
    `owner` String COMMENT 'Person or group that answers for it',
    `reason` String COMMENT 'Why, in the words of the team',
    `applied_at` DateTime64(6, 'UTC') COMMENT 'When this version was applied; the latest of the same team, endpoint, model and start counts'
)
ENGINE = MergeTree
ORDER BY (team, endpoint, model, valid_from, applied_at)
SETTINGS index_granularity = 8192
COMMENT 'Service level objectives per endpoint, every version that was applied. Written by gpuledger slos apply.';

CREATE VIEW telemetry_gaps
(
    `ts` DateTime('UTC') COMMENT 'From when on windows are missing',
    `gap_s` UInt32 COMMENT 'For how long, seconds; it ends within the same day',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host whose windows are missing',
    `rows` UInt64 COMMENT 'Rows lost, of all tables; 0: nobody knows, or none were made',
    `reason` String COMMENT 'spool_full, spool_age, disk, corrupt, refused or stopped'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'One row for each loss of windows that an agent told of; they may overlap.'
AS SELECT
    ts,
    gap_s,
    cluster,
    host,
    rows,
    toString(raw.reason) AS reason
FROM telemetry_gaps_raw AS raw
FINAL;

CREATE TABLE telemetry_gaps_raw
(
    `ts` DateTime('UTC') COMMENT 'From when on windows are missing' CODEC(DoubleDelta, ZSTD(1)),
    `gap_s` UInt32 COMMENT 'For how long, seconds; it ends within the same day' CODEC(T64, ZSTD(1)),
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host whose windows are missing',
    `rows` UInt64 COMMENT 'Rows lost, of all tables; 0: nobody knows, or none were made' CODEC(T64, ZSTD(1)),
    `reason` Enum8('unspecified' = 0, 'spool_full' = 1, 'spool_age' = 2, 'disk' = 3, 'corrupt' = 4, 'refused' = 5, 'stopped' = 6) COMMENT 'Why: the host had no room for them, they were too old, its disk failed or damaged them, a collector refused them, the agent did not run'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (toStartOfHour(ts), host, ts, reason, cluster, gap_s, rows)
TTL toStartOfDay(ts) + toIntervalHour(9673)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'Telemetry that will never come, before deduplication. Read telemetry_gaps instead.';

CREATE TABLE touched_hours
(
    `hour` DateTime('UTC') COMMENT 'Start of an hour of which raw rows arrived',
    `touched_at` DateTime64(6, 'UTC') COMMENT 'When the latest of them arrived, by the clock of ClickHouse'
)
ENGINE = ReplacingMergeTree(touched_at)
PARTITION BY toYYYYMM(hour)
ORDER BY hour
TTL toStartOfDay(hour) + toIntervalHour(9673)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'Hours to roll up again: see rolled_hours.';

CREATE VIEW traffic_concentration
(
    `day` Date COMMENT 'Day, UTC',
    `model` LowCardinality(String) COMMENT 'Model; empty: not said',
    `rank` UInt32 COMMENT 'Place of the model by requests, the most asked being 1',
    `models` UInt32 COMMENT 'Models that were served on the day',
    `requests` UInt64 COMMENT 'Requests that ended, well or not',
    `tokens` UInt64 COMMENT 'Tokens read and generated; 0 where not offered',
    `request_share_pct` Float64 COMMENT 'Its share of the requests, percent',
    `cumulative_request_share_pct` Float64 COMMENT 'Share of the requests of this and all models that are asked more, percent: the Pareto curve',
    `allocated_gpu_hours` Float64 COMMENT 'Allocated to the model, GPU-hours',
    `busy_gpu_hours` Float64 COMMENT 'SMs busy for the model, GPU-hours',
    `gpu_share_pct` Nullable(Float64) COMMENT 'Its share of what is allocated to served models, percent; NULL: nothing is',
    `cumulative_gpu_share_pct` Nullable(Float64) COMMENT 'Share of this and all models that are asked more, percent'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Share of requests by day and model, the most asked first, beside the share of GPUs.'
AS WITH
    served AS
    (
        SELECT
            day,
            model,
            sum(t.requests) AS requests,
            sum(t.prompt_tokens + t.generated_tokens) AS tokens
        FROM traffic_daily AS t
        GROUP BY
            day,
            model
    ),
    gpus AS
    (
        SELECT
            day,
            model,
            sum(u.held_ms + u.unheld_ms) AS allocated_ms,
            sum(u.busy_ms) AS busy_ms
        FROM usage_daily AS u
        GROUP BY
            day,
            model
    )
SELECT
    s.day AS day,
    s.model AS model,
    toUInt32(row_number() OVER by_requests) AS rank,
    toUInt32(count() OVER of_day) AS models,
    s.requests AS requests,
    s.tokens AS tokens,
    ifNull((100 * s.requests) / nullIf(sum(s.requests) OVER of_day, 0), 0) AS request_share_pct,
    ifNull((100 * sum(s.requests) OVER by_requests) / nullIf(sum(s.requests) OVER of_day, 0), 0) AS cumulative_request_share_pct,
    g.allocated_ms / 3600000 AS allocated_gpu_hours,
    g.busy_ms / 3600000 AS busy_gpu_hours,
    (100 * g.allocated_ms) / nullIf(sum(g.allocated_ms) OVER of_day, 0) AS gpu_share_pct,
    (100 * sum(g.allocated_ms) OVER by_requests) / nullIf(sum(g.allocated_ms) OVER of_day, 0) AS cumulative_gpu_share_pct
FROM served AS s
LEFT JOIN gpus AS g ON (g.day = s.day) AND (g.model = s.model)
WINDOW
    of_day AS (PARTITION BY s.day),
    by_requests AS (PARTITION BY s.day ORDER BY s.requests DESC, s.model ASC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);

CREATE VIEW traffic_daily
(
    `day` Date COMMENT 'Day, UTC',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs of the hosts belong to',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `servers_max` UInt32 COMMENT 'Inference servers that were heard in an hour, at most, each of its models counted',
    `observed_ms` UInt64 COMMENT 'Time in which a server was observed, milliseconds',
    `requests` UInt64 COMMENT 'Requests that ended, well or not',
    `errors` UInt64 COMMENT 'Requests that failed; they are among those that ended',
    `prompt_tokens` UInt64 COMMENT 'Tokens read',
    `generated_tokens` UInt64 COMMENT 'Tokens generated',
    `running_ms` UInt64 COMMENT 'Requests in work x time, milliseconds',
    `running_known_ms` UInt64 COMMENT 'Time of servers that tell how many are in work; with running_ms their mean number on a server, milliseconds',
    `running_max` UInt32 COMMENT 'Requests in work at a time on a server, at most',
    `waiting_ms` UInt64 COMMENT 'Requests that waited x time, milliseconds',
    `waiting_known_ms` UInt64 COMMENT 'Time of servers that tell how many wait, milliseconds',
    `waiting_max` UInt32 COMMENT 'Requests that waited at a time on a server, at most',
    `kv_cache_pct_ms` UInt64 COMMENT 'KV cache in use x time, percent x milliseconds',
    `kv_cache_known_ms` UInt64 COMMENT 'Time of servers that tell it; with kv_cache_pct_ms their mean use of it, milliseconds',
    `kv_cache_pct_max` UInt8 COMMENT 'KV cache in use on a server, highest, percent',
    `latency_ms` UInt64 COMMENT 'Sum of all latencies, milliseconds',
    `ttft_ms` UInt64 COMMENT 'Sum of all times to first token, milliseconds',
    `latency_buckets` Array(Tuple(
        above_us UInt64,
        upto_us UInt64)) COMMENT 'Histogram of latency, from the arrival of a request to the end of its answer: the buckets that are not empty, each from above its lower edge to its upper edge, microseconds; 18446744073709551615: no limit',
    `latency_counts` Array(UInt64) COMMENT 'Requests in each of these buckets, not cumulative',
    `ttft_buckets` Array(Tuple(
        above_us UInt64,
        upto_us UInt64)) COMMENT 'Histogram of time to first token: likewise, microseconds',
    `ttft_counts` Array(UInt64) COMMENT 'Requests in each of these buckets, not cumulative',
    `offered` UInt16 COMMENT 'Which figures any of the servers offers: 1 requests, 2 errors, 4 prompt tokens, 8 generated tokens, 16 running, 32 waiting, 64 KV cache; others are 0 and mean nothing'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'What inference servers served, by day and owner. See docs/traffic.md.'
AS SELECT
    toDate(t.hour) AS day,
    cluster,
    host_pool,
    pool,
    team,
    model,
    endpoint,
    use_case,
    max(t.servers) AS servers_max,
    sum(arraySum(t.observed_ms_by_minute)) AS observed_ms,
    sum(t.requests) AS requests,
    sum(t.errors) AS errors,
    sum(t.prompt_tokens) AS prompt_tokens,
    sum(t.generated_tokens) AS generated_tokens,
    sum(t.running_ms) AS running_ms,
    sum(t.running_known_ms) AS running_known_ms,
    max(t.running_max) AS running_max,
    sum(t.waiting_ms) AS waiting_ms,
    sum(t.waiting_known_ms) AS waiting_known_ms,
    max(t.waiting_max) AS waiting_max,
    sum(t.kv_cache_pct_ms) AS kv_cache_pct_ms,
    sum(t.kv_cache_known_ms) AS kv_cache_known_ms,
    max(t.kv_cache_pct_max) AS kv_cache_pct_max,
    sum(t.latency_ms) AS latency_ms,
    sum(t.ttft_ms) AS ttft_ms,
    (sumMap(t.latency_buckets, t.latency_counts)).1 AS latency_buckets,
    (sumMap(t.latency_buckets, t.latency_counts)).2 AS latency_counts,
    (sumMap(t.ttft_buckets, t.ttft_counts)).1 AS ttft_buckets,
    (sumMap(t.ttft_buckets, t.ttft_counts)).2 AS ttft_counts,
    groupBitOr(t.offered) AS offered
FROM traffic_hourly AS t
WHERE t.hour >= toDateTime((
    SELECT hours_from
    FROM read_by_hour
), 'UTC')
GROUP BY
    day,
    cluster,
    host_pool,
    pool,
    team,
    model,
    endpoint,
    use_case
UNION ALL
SELECT
    day,
    cluster,
    host_pool,
    pool,
    team,
    model,
    endpoint,
    use_case,
    servers_max,
    observed_ms,
    requests,
    errors,
    prompt_tokens,
    generated_tokens,
    running_ms,
    running_known_ms,
    running_max,
    waiting_ms,
    waiting_known_ms,
    waiting_max,
    kv_cache_pct_ms,
    kv_cache_known_ms,
    kv_cache_pct_max,
    latency_ms,
    ttft_ms,
    latency_buckets,
    latency_counts,
    ttft_buckets,
    ttft_counts,
    offered
FROM traffic_daily_versions
FINAL
WHERE (day < (
    SELECT hours_from
    FROM read_by_hour
)) AND ((day, computed_at) IN (
    SELECT
        day,
        max(computed_at)
    FROM rolled_days
    GROUP BY day
));

CREATE TABLE traffic_daily_versions
(
    `day` Date COMMENT 'Day, UTC' CODEC(DoubleDelta, ZSTD(1)),
    `computed_at` DateTime64(6, 'UTC') COMMENT 'Version of the day' CODEC(DoubleDelta, ZSTD(1)),
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs of the hosts belong to',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `servers_max` UInt32 COMMENT 'Inference servers that were heard in an hour, at most, each of its models counted' CODEC(T64, ZSTD(1)),
    `observed_ms` UInt64 COMMENT 'Time in which a server was observed, milliseconds' CODEC(T64, ZSTD(1)),
    `requests` UInt64 COMMENT 'Requests that ended, well or not' CODEC(T64, ZSTD(1)),
    `errors` UInt64 COMMENT 'Requests that failed; they are among those that ended' CODEC(T64, ZSTD(1)),
    `prompt_tokens` UInt64 COMMENT 'Tokens read' CODEC(T64, ZSTD(1)),
    `generated_tokens` UInt64 COMMENT 'Tokens generated' CODEC(T64, ZSTD(1)),
    `running_ms` UInt64 COMMENT 'Requests in work x time, milliseconds' CODEC(T64, ZSTD(1)),
    `running_known_ms` UInt64 COMMENT 'Time of servers that tell how many are in work; with running_ms their mean number on a server, milliseconds' CODEC(T64, ZSTD(1)),
    `running_max` UInt32 COMMENT 'Requests in work at a time on a server, at most' CODEC(T64, ZSTD(1)),
    `waiting_ms` UInt64 COMMENT 'Requests that waited x time, milliseconds' CODEC(T64, ZSTD(1)),
    `waiting_known_ms` UInt64 COMMENT 'Time of servers that tell how many wait, milliseconds' CODEC(T64, ZSTD(1)),
    `waiting_max` UInt32 COMMENT 'Requests that waited at a time on a server, at most' CODEC(T64, ZSTD(1)),
    `kv_cache_pct_ms` UInt64 COMMENT 'KV cache in use x time, percent x milliseconds' CODEC(T64, ZSTD(1)),
    `kv_cache_known_ms` UInt64 COMMENT 'Time of servers that tell it; with kv_cache_pct_ms their mean use of it, milliseconds' CODEC(T64, ZSTD(1)),
    `kv_cache_pct_max` UInt8 COMMENT 'KV cache in use on a server, highest, percent' CODEC(ZSTD(1)),
    `latency_ms` UInt64 COMMENT 'Sum of all latencies, milliseconds' CODEC(T64, ZSTD(1)),
    `ttft_ms` UInt64 COMMENT 'Sum of all times to first token, milliseconds' CODEC(T64, ZSTD(1)),
    `latency_buckets` Array(Tuple(
        above_us UInt64,
        upto_us UInt64)) COMMENT 'Histogram of latency, from the arrival of a request to the end of its answer: the buckets that are not empty, each from above its lower edge to its upper edge, microseconds; 18446744073709551615: no limit' CODEC(ZSTD(1)),
    `latency_counts` Array(UInt64) COMMENT 'Requests in each of these buckets, not cumulative' CODEC(ZSTD(1)),
    `ttft_buckets` Array(Tuple(
        above_us UInt64,
        upto_us UInt64)) COMMENT 'Histogram of time to first token: likewise, microseconds' CODEC(ZSTD(1)),
    `ttft_counts` Array(UInt64) COMMENT 'Requests in each of these buckets, not cumulative' CODEC(ZSTD(1)),
    `offered` UInt16 COMMENT 'Which figures any of the servers offers: 1 requests, 2 errors, 4 prompt tokens, 8 generated tokens, 16 running, 32 waiting, 64 KV cache; others are 0 and mean nothing' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, computed_at, pool, team, model, endpoint, use_case, cluster, host_pool)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'What inference servers served, by day and owner, all versions. Read traffic_daily instead.';

CREATE VIEW traffic_hourly
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs of the hosts belong to',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `servers` UInt32 COMMENT 'Inference servers that were heard, each of its models counted',
    `observed_ms_by_minute` Array(UInt64) COMMENT '60 values, one a minute: the part of it in which a server was observed, milliseconds',
    `requests_by_minute` Array(UInt64) COMMENT '60 values, one a minute: requests that ended in it',
    `requests` UInt64 COMMENT 'Requests that ended, well or not',
    `errors` UInt64 COMMENT 'Requests that failed; they are among those that ended',
    `prompt_tokens` UInt64 COMMENT 'Tokens read',
    `generated_tokens` UInt64 COMMENT 'Tokens generated',
    `running_ms` UInt64 COMMENT 'Requests in work x time, milliseconds',
    `running_known_ms` UInt64 COMMENT 'Time of servers that tell how many are in work; with running_ms their mean number on a server, milliseconds',
    `running_max` UInt32 COMMENT 'Requests in work at a time on a server, at most',
    `waiting_ms` UInt64 COMMENT 'Requests that waited x time, milliseconds',
    `waiting_known_ms` UInt64 COMMENT 'Time of servers that tell how many wait, milliseconds',
    `waiting_max` UInt32 COMMENT 'Requests that waited at a time on a server, at most',
    `kv_cache_pct_ms` UInt64 COMMENT 'KV cache in use x time, percent x milliseconds',
    `kv_cache_known_ms` UInt64 COMMENT 'Time of servers that tell it; with kv_cache_pct_ms their mean use of it, milliseconds',
    `kv_cache_pct_max` UInt8 COMMENT 'KV cache in use on a server, highest, percent',
    `latency_ms` UInt64 COMMENT 'Sum of all latencies, milliseconds',
    `ttft_ms` UInt64 COMMENT 'Sum of all times to first token, milliseconds',
    `latency_buckets` Array(Tuple(
        above_us UInt64,
        upto_us UInt64)) COMMENT 'Histogram of latency, from the arrival of a request to the end of its answer: the buckets that are not empty, each from above its lower edge to its upper edge, microseconds; 18446744073709551615: no limit',
    `latency_counts` Array(UInt64) COMMENT 'Requests in each of these buckets, not cumulative',
    `ttft_buckets` Array(Tuple(
        above_us UInt64,
        upto_us UInt64)) COMMENT 'Histogram of time to first token: likewise, microseconds',
    `ttft_counts` Array(UInt64) COMMENT 'Requests in each of these buckets, not cumulative',
    `offered` UInt16 COMMENT 'Which figures any of the servers offers: 1 requests, 2 errors, 4 prompt tokens, 8 generated tokens, 16 running, 32 waiting, 64 KV cache; others are 0 and mean nothing'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'What inference servers served, by hour and owner. See docs/traffic.md.'
AS SELECT
    hour,
    cluster,
    host_pool,
    pool,
    team,
    model,
    endpoint,
    use_case,
    servers,
    observed_ms_by_minute,
    requests_by_minute,
    requests,
    errors,
    prompt_tokens,
    generated_tokens,
    running_ms,
    running_known_ms,
    running_max,
    waiting_ms,
    waiting_known_ms,
    waiting_max,
    kv_cache_pct_ms,
    kv_cache_known_ms,
    kv_cache_pct_max,
    latency_ms,
    ttft_ms,
    latency_buckets,
    latency_counts,
    ttft_buckets,
    ttft_counts,
    offered
FROM traffic_hourly_versions
FINAL
WHERE (hour >= (
    SELECT hourly_from
    FROM kept_from
)) AND ((hour, computed_at) IN (
    SELECT
        hour,
        argMax(computed_at, rolled_at)
    FROM rolled_hours
    GROUP BY hour
));

CREATE TABLE traffic_hourly_versions
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour' CODEC(DoubleDelta, ZSTD(1)),
    `computed_at` DateTime64(6, 'UTC') COMMENT 'Version of the hour' CODEC(DoubleDelta, ZSTD(1)),
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs of the hosts belong to',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `servers` UInt32 COMMENT 'Inference servers that were heard, each of its models counted' CODEC(T64, ZSTD(1)),
    `observed_ms_by_minute` Array(UInt64) COMMENT '60 values, one a minute: the part of it in which a server was observed, milliseconds' CODEC(T64, ZSTD(1)),
    `requests_by_minute` Array(UInt64) COMMENT '60 values, one a minute: requests that ended in it' CODEC(T64, ZSTD(1)),
    `requests` UInt64 COMMENT 'Requests that ended, well or not' CODEC(T64, ZSTD(1)),
    `errors` UInt64 COMMENT 'Requests that failed; they are among those that ended' CODEC(T64, ZSTD(1)),
    `prompt_tokens` UInt64 COMMENT 'Tokens read' CODEC(T64, ZSTD(1)),
    `generated_tokens` UInt64 COMMENT 'Tokens generated' CODEC(T64, ZSTD(1)),
    `running_ms` UInt64 COMMENT 'Requests in work x time, milliseconds' CODEC(T64, ZSTD(1)),
    `running_known_ms` UInt64 COMMENT 'Time of servers that tell how many are in work; with running_ms their mean number on a server, milliseconds' CODEC(T64, ZSTD(1)),
    `running_max` UInt32 COMMENT 'Requests in work at a time on a server, at most' CODEC(T64, ZSTD(1)),
    `waiting_ms` UInt64 COMMENT 'Requests that waited x time, milliseconds' CODEC(T64, ZSTD(1)),
    `waiting_known_ms` UInt64 COMMENT 'Time of servers that tell how many wait, milliseconds' CODEC(T64, ZSTD(1)),
    `waiting_max` UInt32 COMMENT 'Requests that waited at a time on a server, at most' CODEC(T64, ZSTD(1)),
    `kv_cache_pct_ms` UInt64 COMMENT 'KV cache in use x time, percent x milliseconds' CODEC(T64, ZSTD(1)),
    `kv_cache_known_ms` UInt64 COMMENT 'Time of servers that tell it; with kv_cache_pct_ms their mean use of it, milliseconds' CODEC(T64, ZSTD(1)),
    `kv_cache_pct_max` UInt8 COMMENT 'KV cache in use on a server, highest, percent' CODEC(ZSTD(1)),
    `latency_ms` UInt64 COMMENT 'Sum of all latencies, milliseconds' CODEC(T64, ZSTD(1)),
    `ttft_ms` UInt64 COMMENT 'Sum of all times to first token, milliseconds' CODEC(T64, ZSTD(1)),
    `latency_buckets` Array(Tuple(
        above_us UInt64,
        upto_us UInt64)) COMMENT 'Histogram of latency, from the arrival of a request to the end of its answer: the buckets that are not empty, each from above its lower edge to its upper edge, microseconds; 18446744073709551615: no limit' CODEC(ZSTD(1)),
    `latency_counts` Array(UInt64) COMMENT 'Requests in each of these buckets, not cumulative' CODEC(ZSTD(1)),
    `ttft_buckets` Array(Tuple(
        above_us UInt64,
        upto_us UInt64)) COMMENT 'Histogram of time to first token: likewise, microseconds' CODEC(ZSTD(1)),
    `ttft_counts` Array(UInt64) COMMENT 'Requests in each of these buckets, not cumulative' CODEC(ZSTD(1)),
    `offered` UInt16 COMMENT 'Which figures any of the servers offers: 1 requests, 2 errors, 4 prompt tokens, 8 generated tokens, 16 running, 32 waiting, 64 KV cache; others are 0 and mean nothing' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, computed_at, pool, team, model, endpoint, use_case, cluster, host_pool)
TTL toStartOfDay(hour) + toIntervalHour(9673)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'What inference servers served, by hour and owner, all versions. Read traffic_hourly instead.';

CREATE VIEW unattributed_usage
(
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host',
    `process_name` LowCardinality(String) COMMENT 'Command name; empty: granted and not running, or work that no listed process explains',
    `user` LowCardinality(String) COMMENT 'User that the process runs as',
    `pool` LowCardinality(String) COMMENT 'Pool that the work belongs to',
    `gpus` UInt64 COMMENT 'GPUs or MIG instances that it was seen on',
    `workloads` UInt64 COMMENT 'Workloads',
    `example_workload` String COMMENT 'One of them',
    `first_seen` DateTime('UTC') COMMENT 'First seen in the last 7 days',
    `last_seen` DateTime('UTC') COMMENT 'Last seen',
    `allocated_gpu_hours` Float64 COMMENT 'Held, or granted without a process, in the last 7 days, GPU-hours',
    `busy_gpu_hours` Float64 COMMENT 'SMs busy in the last 7 days, GPU-hours',
    `mem_mib_max` UInt32 COMMENT 'Most memory of one process, MiB'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'GPU work that no team stands for, in the last 7 days.'
AS SELECT
    w.cluster AS cluster,
    w.host AS host,
    w.process_name AS process_name,
    w.user AS user,
    w.pool AS pool,
    uniqExact(w.gpu) AS gpus,
    uniqExact(w.workload_kind, w.workload) AS workloads,
    argMax(w.workload, w.last_seen) AS example_workload,
    min(w.first_seen) AS first_seen,
    max(w.last_seen) AS last_seen,
    sum(w.held_ms + w.unheld_ms) / 3600000 AS allocated_gpu_hours,
    sum(w.busy_ms) / 3600000 AS busy_gpu_hours,
    max(w.mem_mib_max) AS mem_mib_max
FROM workload_hourly AS w
WHERE (w.team = '') AND (w.hour >= ((
    SELECT max(hour)
    FROM rolled_hours
) - toIntervalDay(7)))
GROUP BY
    cluster,
    host,
    process_name,
    user,
    pool;

CREATE VIEW unrequested_usage
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `team` LowCardinality(String) COMMENT 'Team',
    `model` LowCardinality(String) COMMENT 'Model; empty: not said',
    `endpoint` LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    `use_case` LowCardinality(String) COMMENT 'Use case; empty: not said',
    `allocated_gpu_hours` Float64 COMMENT 'Held, or granted without a process, GPU-hours',
    `ended_request` String COMMENT 'Request that would cover it and is over or withdrawn, the latest; empty: there never was one',
    `ended_at` Nullable(DateTime('UTC')) COMMENT 'When that request ceased to count'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Hourly usage of teams that no request in force covers.'
AS WITH
    requests AS
    (
        SELECT
            id,
            team,
            pool,
            model,
            endpoint,
            use_case,
            lowerUTF8(r.gpu_model) AS gpu_model,
            max(r.counts_until) AS ended_at
        FROM requests_in_force AS r
        GROUP BY
            id,
            team,
            pool,
            model,
            endpoint,
            use_case,
            gpu_model
    ),
    owners AS
    (
        SELECT DISTINCT
            owner,
            team,
            pool,
            model,
            endpoint,
            use_case,
            gpu_model
        FROM owners_seen
        WHERE team != ''
    ),
    fitting AS
    (
        SELECT
            o.owner AS owner,
            arrayReverseSort(groupArray((r.ended_at, r.id))) AS requests
        FROM owners AS o
        INNER JOIN requests AS r ON (r.team = o.team) AND (r.pool = o.pool)
        WHERE (r.model IN ('', o.model)) AND (r.endpoint IN ('', o.endpoint)) AND (r.use_case IN ('', o.use_case)) AND ((r.gpu_model = '') OR (positionUTF8(lowerUTF8(o.gpu_model), r.gpu_model) > 0))
        GROUP BY owner
    )
SELECT
    u.hour AS hour,
    u.cluster AS cluster,
    u.host_pool AS host_pool,
    u.gpu_model AS gpu_model,
    u.pool AS pool,
    u.team AS team,
    u.model AS model,
    u.endpoint AS endpoint,
    u.use_case AS use_case,
    (u.held_ms + u.unheld_ms) / 3600000 AS allocated_gpu_hours,
    (arrayFirst(request -> ((request.1) < (u.hour + toIntervalHour(1))), f.requests)).2 AS ended_request,
    if(ended_request = '', NULL, (arrayFirst(request -> ((request.1) < (u.hour + toIntervalHour(1))), f.requests)).1) AS ended_at
FROM usage_by_request AS u
LEFT JOIN fitting AS f ON f.owner = u.owner
WHERE (u.request_group = 0) AND (u.team != '');

CREATE VIEW usage_by_request
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour',
    `request_group` UInt64 COMMENT 'Requests that the usage belongs to, 0 if nobody asked for it',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `owner` UInt64 COMMENT 'Same for rows of the same cluster, host_pool, GPU model, pool, team, model, endpoint and use case',
    `held_ms` UInt64 COMMENT 'Time held, milliseconds of a whole GPU',
    `unheld_ms` UInt64 COMMENT 'Time granted without a process, milliseconds of a whole GPU',
    `active_ms` UInt64 COMMENT 'Time held in windows with SM time, milliseconds of a whole GPU',
    `busy_ms` UInt64 COMMENT 'SM-busy time, milliseconds of a whole GPU',
    `unmeasured_ms` UInt64 COMMENT 'Time held of which nobody knows whether the SMs were busy, milliseconds of a whole GPU',
    `active_gpu_ms_by_minute` Array(UInt64) COMMENT '60 values, one a minute: active_ms of it',
    `unmeasured_gpu_ms_by_minute` Array(UInt64) COMMENT '60 values, one a minute: unmeasured_ms of it',
    `allocated_gpu_ms_by_minute` Array(UInt64) COMMENT '60 values, one a minute: held_ms + unheld_ms of it',
    `mem_mib_ms` UInt64 COMMENT 'GPU memory x time, MiB x milliseconds',
    `mem_mib_histogram` Map(UInt32, UInt64) COMMENT 'Memory on one GPU, mean of a window, in steps of 16 MiB (the lower edge) -> milliseconds of presence'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Hourly usage with the kind of capacity request it belongs to.'
AS WITH
    fitting AS
    (
        SELECT
            o.owner AS owner,
            any(r.observed_pool) AS observed_pool,
            arrayMap(ranked -> (ranked.2), arrayReverseSort(groupArray((((((r.endpoint != '') + (r.model != '')) + (r.use_case != '')) + (r.gpu_model != ''), r.endpoint != '', r.model != '', r.use_case != '', length(r.gpu_model)), (r.request_group, r.counts_from, r.counts_until))))) AS candidates
        FROM
        (
            SELECT DISTINCT
                owner,
                team,
                pool,
                model,
                endpoint,
                use_case,
                gpu_model
            FROM owners_seen
        ) AS o
        INNER JOIN requests_in_force AS r ON (r.team = o.team) AND (r.pool = o.pool)
        WHERE (r.model IN ('', o.model)) AND (r.endpoint IN ('', o.endpoint)) AND (r.use_case IN ('', o.use_case)) AND ((r.gpu_model = '') OR (positionCaseInsensitiveUTF8(o.gpu_model, r.gpu_model) > 0))
        GROUP BY owner
    )
SELECT
    u.hour AS hour,
    (arrayFirst(candidate -> (((candidate.2) < o.seen_until) AND ((candidate.3) > o.seen_from)), f.candidates)).1 AS request_group,
    u.cluster AS cluster,
    u.host_pool AS host_pool,
    u.gpu_model AS gpu_model,
    u.pool AS pool,
    u.team AS team,
    u.model AS model,
    u.endpoint AS endpoint,
    u.use_case AS use_case,
    u.owner AS owner,
    u.held_ms AS held_ms,
    u.unheld_ms AS unheld_ms,
    u.active_ms AS active_ms,
    u.busy_ms AS busy_ms,
    u.unmeasured_ms AS unmeasured_ms,
    u.active_gpu_ms_by_minute AS active_gpu_ms_by_minute,
    u.unmeasured_gpu_ms_by_minute AS unmeasured_gpu_ms_by_minute,
    u.allocated_gpu_ms_by_minute AS allocated_gpu_ms_by_minute,
    u.mem_mib_ms AS mem_mib_ms,
    u.mem_mib_histogram AS mem_mib_histogram
FROM usage_hourly AS u
ANY LEFT JOIN fitting AS f ON f.owner = u.owner
ANY LEFT JOIN observed_hourly AS o ON (o.hour = u.hour) AND (o.pool = f.observed_pool);

CREATE VIEW usage_daily
(
    `day` Date COMMENT 'Day, UTC',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `held_ms` UInt64 COMMENT 'Time held, milliseconds of a whole GPU',
    `unheld_ms` UInt64 COMMENT 'Time granted without a process, milliseconds of a whole GPU',
    `active_ms` UInt64 COMMENT 'Time held in windows with SM time, milliseconds of a whole GPU',
    `busy_ms` UInt64 COMMENT 'SM-busy time, milliseconds of a whole GPU',
    `unmeasured_ms` UInt64 COMMENT 'Time held of which nobody knows whether the SMs were busy, milliseconds of a whole GPU',
    `sm_pct_max` UInt8 COMMENT 'Highest SM use sampled, percent',
    `sm_pct_histogram` Map(UInt8, UInt64) COMMENT 'SM use of one GPU in one window, percent of a whole GPU -> milliseconds of presence; unmeasured time is left out',
    `mem_known_ms` UInt64 COMMENT 'Presence on GPUs, memory known, milliseconds, not divided among sharers',
    `mem_mib_ms` UInt64 COMMENT 'GPU memory x time, MiB x milliseconds',
    `mem_mib_min` UInt32 COMMENT 'Least memory on one GPU, mean of a window, MiB; 0 if memory was never known',
    `mem_mib_max` UInt32 COMMENT 'Most memory on one GPU at any tick, MiB; 0 if memory was never known',
    `mem_mib_histogram` Map(UInt32, UInt64) COMMENT 'Memory on one GPU, mean of a window, in steps of 16 MiB (the lower edge) -> milliseconds of presence'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'What each owner held and used, by day. Sums of milliseconds of whole GPUs, see docs/books.md.'
AS SELECT
    toDate(u.hour) AS day,
    cluster,
    host_pool,
    gpu_model,
    pool,
    team,
    model,
    endpoint,
    use_case,
    sum(u.held_ms) AS held_ms,
    sum(u.unheld_ms) AS unheld_ms,
    sum(u.active_ms) AS active_ms,
    sum(u.busy_ms) AS busy_ms,
    sum(u.unmeasured_ms) AS unmeasured_ms,
    max(u.sm_pct_max) AS sm_pct_max,
    sumMap(u.sm_pct_histogram) AS sm_pct_histogram,
    sum(u.mem_known_ms) AS mem_known_ms,
    sum(u.mem_mib_ms) AS mem_mib_ms,
    minIf(u.mem_mib_min, u.mem_known_ms > 0) AS mem_mib_min,
    max(u.mem_mib_max) AS mem_mib_max,
    sumMap(u.mem_mib_histogram) AS mem_mib_histogram
FROM usage_hourly AS u
WHERE u.hour >= toDateTime((
    SELECT hours_from
    FROM read_by_hour
), 'UTC')
GROUP BY
    day,
    cluster,
    host_pool,
    gpu_model,
    pool,
    team,
    model,
    endpoint,
    use_case
UNION ALL
SELECT
    day,
    cluster,
    host_pool,
    gpu_model,
    pool,
    team,
    model,
    endpoint,
    use_case,
    held_ms,
    unheld_ms,
    active_ms,
    busy_ms,
    unmeasured_ms,
    sm_pct_max,
    sm_pct_histogram,
    mem_known_ms,
    mem_mib_ms,
    mem_mib_min,
    mem_mib_max,
    mem_mib_histogram
FROM usage_daily_versions
FINAL
WHERE (day < (
    SELECT hours_from
    FROM read_by_hour
)) AND ((day, computed_at) IN (
    SELECT
        day,
        max(computed_at)
    FROM rolled_days
    GROUP BY day
));

CREATE TABLE usage_daily_versions
(
    `day` Date COMMENT 'Day, UTC' CODEC(DoubleDelta, ZSTD(1)),
    `computed_at` DateTime64(6, 'UTC') COMMENT 'Version of the day' CODEC(DoubleDelta, ZSTD(1)),
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `held_ms` UInt64 COMMENT 'Time held, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `unheld_ms` UInt64 COMMENT 'Time granted without a process, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `active_ms` UInt64 COMMENT 'Time held in windows with SM time, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `busy_ms` UInt64 COMMENT 'SM-busy time, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `unmeasured_ms` UInt64 COMMENT 'Time held of which nobody knows whether the SMs were busy, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `sm_pct_max` UInt8 COMMENT 'Highest SM use sampled, percent' CODEC(ZSTD(1)),
    `sm_pct_histogram` Map(UInt8, UInt64) COMMENT 'SM use of one GPU in one window, percent of a whole GPU -> milliseconds of presence; unmeasured time is left out' CODEC(ZSTD(1)),
    `mem_known_ms` UInt64 COMMENT 'Presence on GPUs, memory known, milliseconds, not divided among sharers' CODEC(T64, ZSTD(1)),
    `mem_mib_ms` UInt64 COMMENT 'GPU memory x time, MiB x milliseconds' CODEC(T64, ZSTD(1)),
    `mem_mib_min` UInt32 COMMENT 'Least memory on one GPU, mean of a window, MiB; 0 if memory was never known' CODEC(T64, ZSTD(1)),
    `mem_mib_max` UInt32 COMMENT 'Most memory on one GPU at any tick, MiB; 0 if memory was never known' CODEC(T64, ZSTD(1)),
    `mem_mib_histogram` Map(UInt32, UInt64) COMMENT 'Memory on one GPU, mean of a window, in steps of 16 MiB (the lower edge) -> milliseconds of presence' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, computed_at, pool, team, model, endpoint, use_case, gpu_model, cluster, host_pool)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'What each owner held and used, by day, all versions. Read usage_daily instead.';

CREATE VIEW usage_hourly
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `owner` UInt64 COMMENT 'Same for rows of the same cluster, host_pool, GPU model, pool, team, model, endpoint and use case',
    `held_ms` UInt64 COMMENT 'Time held, milliseconds of a whole GPU',
    `unheld_ms` UInt64 COMMENT 'Time granted without a process, milliseconds of a whole GPU',
    `active_ms` UInt64 COMMENT 'Time held in windows with SM time, milliseconds of a whole GPU',
    `busy_ms` UInt64 COMMENT 'SM-busy time, milliseconds of a whole GPU',
    `unmeasured_ms` UInt64 COMMENT 'Time held of which nobody knows whether the SMs were busy, milliseconds of a whole GPU',
    `active_gpu_ms_by_minute` Array(UInt64) COMMENT '60 values, one a minute: active_ms of it; by 60,000 the mean number of active GPUs',
    `unmeasured_gpu_ms_by_minute` Array(UInt64) COMMENT '60 values, one a minute: unmeasured_ms of it',
    `allocated_gpu_ms_by_minute` Array(UInt64) COMMENT '60 values, one a minute: held_ms + unheld_ms of it; by 60,000 the mean number of allocated GPUs',
    `sm_pct_max` UInt8 COMMENT 'Highest SM use sampled, percent',
    `sm_pct_histogram` Map(UInt8, UInt64) COMMENT 'SM use of one GPU in one window, percent of a whole GPU -> milliseconds of presence; unmeasured time is left out',
    `mem_known_ms` UInt64 COMMENT 'Presence on GPUs, memory known, milliseconds, not divided among sharers',
    `mem_mib_ms` UInt64 COMMENT 'GPU memory x time, MiB x milliseconds',
    `mem_mib_min` UInt32 COMMENT 'Least memory on one GPU, mean of a window, MiB; 0 if memory was never known',
    `mem_mib_max` UInt32 COMMENT 'Most memory on one GPU at any tick, MiB; 0 if memory was never known',
    `mem_mib_histogram` Map(UInt32, UInt64) COMMENT 'Memory on one GPU, mean of a window, in steps of 16 MiB (the lower edge) -> milliseconds of presence'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'What each owner held and used, by hour. Sums of milliseconds of whole GPUs, see docs/books.md.'
AS SELECT
    hour,
    cluster,
    host_pool,
    gpu_model,
    pool,
    team,
    model,
    endpoint,
    use_case,
    owner,
    held_ms,
    unheld_ms,
    active_ms,
    busy_ms,
    unmeasured_ms,
    active_gpu_ms_by_minute,
    unmeasured_gpu_ms_by_minute,
    allocated_gpu_ms_by_minute,
    sm_pct_max,
    sm_pct_histogram,
    mem_known_ms,
    mem_mib_ms,
    mem_mib_min,
    mem_mib_max,
    mem_mib_histogram
FROM usage_hourly_versions
FINAL
WHERE (hour >= (
    SELECT hourly_from
    FROM kept_from
)) AND ((hour, computed_at) IN (
    SELECT
        hour,
        argMax(computed_at, rolled_at)
    FROM rolled_hours
    GROUP BY hour
));

CREATE MATERIALIZED VIEW usage_hourly_owners TO owners_seen
(
    `cluster` LowCardinality(String),
    `host_pool` LowCardinality(String),
    `gpu_model` LowCardinality(String),
    `pool` LowCardinality(String),
    `team` LowCardinality(String),
    `model` LowCardinality(String),
    `endpoint` LowCardinality(String),
    `use_case` LowCardinality(String),
    `owner` UInt64
)
AS SELECT DISTINCT
    cluster,
    host_pool,
    gpu_model,
    pool,
    team,
    model,
    endpoint,
    use_case,
    owner
FROM usage_hourly_versions;

CREATE TABLE usage_hourly_versions
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour' CODEC(DoubleDelta, ZSTD(1)),
    `computed_at` DateTime64(6, 'UTC') COMMENT 'Version of the hour' CODEC(DoubleDelta, ZSTD(1)),
    `cluster` LowCardinality(String) COMMENT 'Cluster of the hosts',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPUs belong to',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `owner` UInt64 MATERIALIZED sipHash64(cluster, host_pool, gpu_model, pool, team, model, endpoint, use_case) COMMENT 'Same for rows of the same owner on the same kind of GPUs: of all that a row of an hour is told from others by' CODEC(ZSTD(1)),
    `held_ms` UInt64 COMMENT 'Time held, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `unheld_ms` UInt64 COMMENT 'Time granted without a process, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `active_ms` UInt64 COMMENT 'Time held in windows with SM time, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `busy_ms` UInt64 COMMENT 'SM-busy time, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `unmeasured_ms` UInt64 COMMENT 'Time held of which nobody knows whether the SMs were busy, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `active_gpu_ms_by_minute` Array(UInt64) COMMENT '60 values, one a minute: active_ms of it; by 60,000 the mean number of active GPUs' CODEC(T64, ZSTD(1)),
    `unmeasured_gpu_ms_by_minute` Array(UInt64) COMMENT '60 values, one a minute: unmeasured_ms of it' CODEC(T64, ZSTD(1)),
    `allocated_gpu_ms_by_minute` Array(UInt64) COMMENT '60 values, one a minute: held_ms + unheld_ms of it; by 60,000 the mean number of allocated GPUs' CODEC(T64, ZSTD(1)),
    `sm_pct_max` UInt8 COMMENT 'Highest SM use sampled, percent' CODEC(ZSTD(1)),
    `sm_pct_histogram` Map(UInt8, UInt64) COMMENT 'SM use of one GPU in one window, percent of a whole GPU -> milliseconds of presence; unmeasured time is left out' CODEC(ZSTD(1)),
    `mem_known_ms` UInt64 COMMENT 'Presence on GPUs, memory known, milliseconds, not divided among sharers' CODEC(T64, ZSTD(1)),
    `mem_mib_ms` UInt64 COMMENT 'GPU memory x time, MiB x milliseconds' CODEC(T64, ZSTD(1)),
    `mem_mib_min` UInt32 COMMENT 'Least memory on one GPU, mean of a window, MiB; 0 if memory was never known' CODEC(T64, ZSTD(1)),
    `mem_mib_max` UInt32 COMMENT 'Most memory on one GPU at any tick, MiB; 0 if memory was never known' CODEC(T64, ZSTD(1)),
    `mem_mib_histogram` Map(UInt32, UInt64) COMMENT 'Memory on one GPU, mean of a window, in steps of 16 MiB (the lower edge) -> milliseconds of presence' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, computed_at, pool, team, model, endpoint, use_case, gpu_model, cluster, host_pool)
TTL toStartOfDay(hour) + toIntervalHour(9673)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'What each owner held and used, by hour, all versions. Read usage_hourly instead.';

CREATE VIEW waste_by_model
(
    `day` Date COMMENT 'Day, UTC',
    `team` LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    `model` LowCardinality(String) COMMENT 'Model; empty: not said, or requested for any',
    `requested_gpu_hours` Float64 COMMENT 'Asked for by approved requests, GPU-hours',
    `allocated_gpu_hours` Float64 COMMENT 'Held, or granted without a process, GPU-hours',
    `active_gpu_hours` Float64 COMMENT 'Held in windows with SM time: used, GPU-hours',
    `busy_gpu_hours` Float64 COMMENT 'SMs busy, GPU-hours',
    `unmeasured_gpu_hours` Float64 COMMENT 'Held, and nobody can say whether the SMs were busy, GPU-hours',
    `unclaimed_gpu_hours` Float64 COMMENT 'Waste: requested and not allocated, GPU-hours',
    `idle_gpu_hours` Float64 COMMENT 'Waste: allocated in windows without SM time, GPU-hours',
    `underused_gpu_hours` Float64 COMMENT 'Waste: active and not busy, GPU-hours',
    `waste_gpu_hours` Float64 COMMENT 'Unclaimed + idle + underused, GPU-hours',
    `requested_gib_hours` Float64 COMMENT 'Memory of the requested GPUs, GiB-hours; 0 where the GPU model is not known',
    `allocated_gib_hours` Float64 COMMENT 'Memory of the allocated GPUs, GiB-hours',
    `used_gib_hours` Float64 COMMENT 'Memory that processes used, GiB-hours',
    `allocated_usd` Nullable(Float64) COMMENT 'Price of what was allocated, USD; NULL: no price known',
    `waste_usd` Nullable(Float64) COMMENT 'Price of the waste, USD; NULL: no price known, then see unpriced_waste_gpu_hours',
    `unpriced_waste_gpu_hours` Float64 COMMENT 'Waste that waste_usd leaves out because no price is known, GPU-hours'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Requested against used, by day and model. Units are in the column names; see docs/books.md.'
AS SELECT
    day,
    team,
    model,
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
GROUP BY
    day,
    team,
    model;

CREATE VIEW waste_by_team
(
    `day` Date COMMENT 'Day, UTC',
    `team` LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    `requested_gpu_hours` Float64 COMMENT 'Asked for by approved requests, GPU-hours',
    `allocated_gpu_hours` Float64 COMMENT 'Held, or granted without a process, GPU-hours',
    `active_gpu_hours` Float64 COMMENT 'Held in windows with SM time: used, GPU-hours',
    `busy_gpu_hours` Float64 COMMENT 'SMs busy, GPU-hours',
    `unmeasured_gpu_hours` Float64 COMMENT 'Held, and nobody can say whether the SMs were busy, GPU-hours',
    `unclaimed_gpu_hours` Float64 COMMENT 'Waste: requested and not allocated, GPU-hours',
    `idle_gpu_hours` Float64 COMMENT 'Waste: allocated in windows without SM time, GPU-hours',
    `underused_gpu_hours` Float64 COMMENT 'Waste: active and not busy, GPU-hours',
    `waste_gpu_hours` Float64 COMMENT 'Unclaimed + idle + underused, GPU-hours',
    `requested_gib_hours` Float64 COMMENT 'Memory of the requested GPUs, GiB-hours; 0 where the GPU model is not known',
    `allocated_gib_hours` Float64 COMMENT 'Memory of the allocated GPUs, GiB-hours',
    `used_gib_hours` Float64 COMMENT 'Memory that processes used, GiB-hours',
    `allocated_usd` Nullable(Float64) COMMENT 'Price of what was allocated, USD; NULL: no price known',
    `waste_usd` Nullable(Float64) COMMENT 'Price of the waste, USD; NULL: no price known, then see unpriced_waste_gpu_hours',
    `unpriced_waste_gpu_hours` Float64 COMMENT 'Waste that waste_usd leaves out because no price is known, GPU-hours'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'Requested against used, by day and team. Units are in the column names; see docs/books.md.'
AS SELECT
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
GROUP BY
    day,
    team;

CREATE VIEW workload_hourly
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour',
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    `gpu` LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `workload_kind` LowCardinality(String) COMMENT 'process, container, pod, slurm_job or unit',
    `workload` String COMMENT 'Name of the workload, unique on its host',
    `process_name` LowCardinality(String) COMMENT 'Command name, kept where the work has no team; else empty',
    `user` LowCardinality(String) COMMENT 'User, kept where the work has no team; else empty',
    `first_seen` DateTime('UTC') COMMENT 'Start of its first window in the hour',
    `last_seen` DateTime('UTC') COMMENT 'End of its last window in the hour',
    `last_worked` DateTime('UTC') COMMENT 'End of the last window in which it had SM time or none could tell; 1970-01-01 if none',
    `held_ms` UInt64 COMMENT 'Time held, milliseconds of a whole GPU',
    `unheld_ms` UInt64 COMMENT 'Time granted without a process, milliseconds of a whole GPU',
    `active_ms` UInt64 COMMENT 'Time held in windows with SM time, milliseconds of a whole GPU',
    `busy_ms` UInt64 COMMENT 'SM-busy time, milliseconds of a whole GPU',
    `unmeasured_ms` UInt64 COMMENT 'Time held of which nobody knows whether the SMs were busy, milliseconds of a whole GPU',
    `idle_after_work_ms` UInt64 COMMENT 'Idle time after last_worked, milliseconds of a whole GPU',
    `mem_mib_max` UInt32 COMMENT 'Most memory of one of its processes, MiB'
)
DEFINER = default SQL SECURITY DEFINER
COMMENT 'What each workload held and used on each GPU, by hour. Sums of milliseconds of whole GPUs.'
AS SELECT
    hour,
    cluster,
    host,
    host_pool,
    gpu,
    gpu_model,
    pool,
    team,
    model,
    endpoint,
    use_case,
    workload_kind,
    workload,
    process_name,
    user,
    first_seen,
    last_seen,
    last_worked,
    held_ms,
    unheld_ms,
    active_ms,
    busy_ms,
    unmeasured_ms,
    idle_after_work_ms,
    mem_mib_max
FROM workload_hourly_versions
FINAL
WHERE (hour >= (
    SELECT hourly_from
    FROM kept_from
)) AND ((hour, computed_at) IN (
    SELECT
        hour,
        argMax(computed_at, rolled_at)
    FROM rolled_hours
    GROUP BY hour
));

CREATE TABLE workload_hourly_versions
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour' CODEC(DoubleDelta, ZSTD(1)),
    `computed_at` DateTime64(6, 'UTC') COMMENT 'Version of the hour' CODEC(DoubleDelta, ZSTD(1)),
    `cluster` LowCardinality(String) COMMENT 'Cluster of the host',
    `host` LowCardinality(String) COMMENT 'Host',
    `host_pool` LowCardinality(String) COMMENT 'Pool that the GPU belongs to',
    `gpu` LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance',
    `gpu_model` LowCardinality(String) COMMENT 'GPU model as NVML names it',
    `pool` LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    `team` LowCardinality(String) COMMENT 'Owner: team, empty if nobody said',
    `model` LowCardinality(String) COMMENT 'Owner: model',
    `endpoint` LowCardinality(String) COMMENT 'Owner: endpoint',
    `use_case` LowCardinality(String) COMMENT 'Owner: use case',
    `workload_kind` LowCardinality(String) COMMENT 'process, container, pod, slurm_job or unit',
    `workload` String COMMENT 'Name of the workload, unique on its host' CODEC(ZSTD(1)),
    `process_name` LowCardinality(String) COMMENT 'Command name, kept where the work has no team; else empty',
    `user` LowCardinality(String) COMMENT 'User, kept where the work has no team; else empty',
    `first_seen` DateTime('UTC') COMMENT 'Start of its first window in the hour',
    `last_seen` DateTime('UTC') COMMENT 'End of its last window in the hour',
    `last_worked` DateTime('UTC') COMMENT 'End of the last window in which it had SM time or none could tell; 1970-01-01 if none',
    `held_ms` UInt64 COMMENT 'Time held, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `unheld_ms` UInt64 COMMENT 'Time granted without a process, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `active_ms` UInt64 COMMENT 'Time held in windows with SM time, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `busy_ms` UInt64 COMMENT 'SM-busy time, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `unmeasured_ms` UInt64 COMMENT 'Time held of which nobody knows whether the SMs were busy, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `idle_after_work_ms` UInt64 COMMENT 'Idle time after last_worked, milliseconds of a whole GPU' CODEC(T64, ZSTD(1)),
    `mem_mib_max` UInt32 COMMENT 'Most memory of one of its processes, MiB' CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, computed_at, cluster, host, gpu, workload_kind, workload, pool, team, model, endpoint, use_case, process_name, user, host_pool, gpu_model)
TTL toStartOfDay(hour) + toIntervalHour(9673)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1, index_granularity = 8192
COMMENT 'What each workload held and used on each GPU, by hour, all versions. Read workload_hourly instead.';

