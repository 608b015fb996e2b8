-- What people declare: requests, prices, targets; and what the rules find. Declarations are
-- never overwritten: every version stays, so that what was asked for last Tuesday stays known.

CREATE TABLE IF NOT EXISTS capacity_requests
(
    id String COMMENT 'Name of the request, chosen by its owner',
    applied_at DateTime64(6, 'UTC') COMMENT 'When this version was applied; it counts from then on, the first version from its own start',
    team LowCardinality(String) COMMENT 'Who asks',
    model LowCardinality(String) COMMENT 'For which model; empty: any',
    endpoint LowCardinality(String) COMMENT 'For which endpoint; empty: any',
    use_case LowCardinality(String) COMMENT 'For which use case; empty: any',
    pool LowCardinality(String) COMMENT 'In which pool',
    gpu_model LowCardinality(String) COMMENT 'Part of the GPU model name wanted, without regard to case; empty: any',
    gpus Decimal(12, 3) COMMENT 'How many GPUs',
    gpu_memory_gib Nullable(Decimal(12, 3)) COMMENT 'Memory that the team expects to need on each GPU, GiB; NULL: not said',
    expected_sm_pct Nullable(Decimal(6, 3)) COMMENT 'SM use that the team expects, percent of each GPU; NULL: not said',
    requested_from DateTime('UTC') COMMENT 'From when on',
    requested_until Nullable(DateTime('UTC')) COMMENT 'Until when; NULL: no end',
    status Enum8('proposed' = 1, 'approved' = 2, 'rejected' = 3, 'withdrawn' = 4) COMMENT 'Only approved requests count as requested',
    owner String COMMENT 'Person or group that answers for it',
    reason String COMMENT 'Why, in the words of the team'
)
ENGINE = MergeTree
ORDER BY (id, applied_at)
COMMENT 'Capacity requests, every version that was applied. Written by gpuledger requests apply.';

CREATE TABLE IF NOT EXISTS gpu_prices
(
    gpu_model LowCardinality(String) COMMENT 'Part of the GPU model name, without regard to case; empty: any',
    pool LowCardinality(String) COMMENT 'Pool that the price is for; empty: any',
    priced_from DateTime('UTC') COMMENT 'From when on',
    usd_per_gpu_hour Decimal(12, 6) COMMENT 'Price of one GPU for one hour, USD',
    applied_at DateTime64(6, 'UTC') COMMENT 'When this version was applied; the latest of the same model, pool and start counts'
)
ENGINE = MergeTree
ORDER BY (gpu_model, pool, priced_from, applied_at)
COMMENT 'Prices of GPU time, every version that was applied. Written by gpuledger prices apply.';

CREATE TABLE IF NOT EXISTS slos
(
    team LowCardinality(String) COMMENT 'Team that the endpoint belongs to',
    model LowCardinality(String) COMMENT 'Model behind the endpoint; empty: any',
    endpoint LowCardinality(String) COMMENT 'Endpoint',
    valid_from DateTime('UTC') COMMENT 'From when on',
    valid_until Nullable(DateTime('UTC')) COMMENT 'Until when; NULL: no end',
    latency_ms UInt32 COMMENT 'Latency that requests must stay inside, milliseconds',
    percentile Decimal(6, 3) COMMENT 'Share of the requests that must stay inside, percent: 95 is a target for the p95',
    throughput_rps Nullable(Decimal(12, 3)) COMMENT 'Requests per second that must be served; NULL: not said',
    attainment_pct Decimal(6, 3) COMMENT 'Share of the hours in which all of this must hold, percent',
    owner String COMMENT 'Person or group that answers for it',
    reason String COMMENT 'Why, in the words of the team',
    applied_at DateTime64(6, 'UTC') COMMENT 'When this version was applied; the latest of the same team, endpoint, model and start counts'
)
ENGINE = MergeTree
ORDER BY (team, endpoint, model, valid_from, applied_at)
COMMENT 'Service level objectives per endpoint, every version that was applied. Written by gpuledger slos apply.';

CREATE TABLE IF NOT EXISTS finding_versions
(
    rule LowCardinality(String) COMMENT 'Rule that found it',
    subject String COMMENT 'What it is about; with the rule, the identity of the finding',
    first_seen DateTime('UTC') COMMENT 'When the rule first found it; a finding that comes back begins anew',
    evaluated_at DateTime64(6, 'UTC') COMMENT 'Begin of the evaluation that says so: the latest counts',
    id String MATERIALIZED lower(hex(cityHash64(rule, subject))) COMMENT 'Short name of rule and subject',
    severity Enum8('info' = 1, 'warning' = 2, 'critical' = 3) COMMENT 'How urgent',
    team LowCardinality(String) COMMENT 'Team that can act on it; empty: whoever runs the fleet',
    pool LowCardinality(String) COMMENT 'Pool that it concerns; empty: none, or more than one',
    usd Nullable(Float64) COMMENT 'Money at stake in a week at the present rate, USD; NULL: no price known, or none at stake',
    evidence Map(LowCardinality(String), String) COMMENT 'Figures that the verdict rests on, by name',
    last_seen DateTime('UTC') COMMENT 'When the rule last found it',
    resolved_at Nullable(DateTime('UTC')) COMMENT 'When the rule first found it no more; NULL: open'
)
ENGINE = ReplacingMergeTree(evaluated_at)
ORDER BY (rule, subject, first_seen)
COMMENT 'Verdicts of rules, before deduplication. Read findings instead. Written by collectors and gpuledger findings evaluate.';

CREATE TABLE IF NOT EXISTS finding_acks
(
    id String COMMENT 'Finding',
    acked_at DateTime64(6, 'UTC') COMMENT 'When this was said; the latest counts',
    until DateTime('UTC') COMMENT 'From when on the finding asks to be acted on again',
    acked_by String COMMENT 'Who answers for it',
    reason String COMMENT 'Why nothing is to be done until then'
)
ENGINE = MergeTree
ORDER BY (id, acked_at)
COMMENT 'Acknowledgements of findings, every one. Written by gpuledger findings ack.';

CREATE TABLE IF NOT EXISTS rule_evaluations
(
    rule LowCardinality(String) COMMENT 'Rule',
    evaluated_at DateTime64(6, 'UTC') COMMENT 'Begin of the evaluation',
    found UInt64 COMMENT 'Findings open afterwards',
    error String COMMENT 'Why it failed; empty: it did not. Its findings then stay as they were'
)
ENGINE = ReplacingMergeTree
ORDER BY (rule, evaluated_at)
TTL toDateTime(evaluated_at) + INTERVAL 30 DAY
COMMENT 'When which rule was evaluated.';
