-- What does a unit of load take, and what does it cost?
--
-- Beside resource_profile, which says what a model needs: what it did for that. Money is the price of
-- all that was allocated, not only of what was busy.
CREATE OR REPLACE VIEW load_profile
(
    day Date COMMENT 'Day, UTC',
    team LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    model LowCardinality(String) COMMENT 'Model; empty: not said',
    endpoint LowCardinality(String) COMMENT 'Endpoint; empty: not said',
    pool LowCardinality(String) COMMENT 'Pool that the workload belongs to',
    requests UInt64 COMMENT 'Requests that ended, well or not',
    errors Nullable(UInt64) COMMENT 'Requests that failed; NULL: not offered',
    prompt_tokens Nullable(UInt64) COMMENT 'Tokens read; NULL: not offered',
    generated_tokens Nullable(UInt64) COMMENT 'Tokens generated; NULL: not offered',
    allocated_gpu_hours Float64 COMMENT 'Held, or granted without a process, GPU-hours',
    busy_gpu_hours Float64 COMMENT 'SMs busy, GPU-hours',
    allocated_usd Nullable(Float64) COMMENT 'Price of what was allocated, USD; NULL: no price known',
    tokens_per_gpu_second Nullable(Float64) COMMENT 'Tokens read and generated per second of an allocated GPU; NULL: not offered, or no GPU',
    generated_tokens_per_gpu_second Nullable(Float64) COMMENT 'Tokens generated per second of an allocated GPU; NULL: not offered, or no GPU',
    requests_per_busy_gpu_hour Nullable(Float64) COMMENT 'Requests per hour of a busy GPU; NULL: none was busy, or nobody can say',
    running_mean Nullable(Float64) COMMENT 'Requests in work at a time on a server, mean; NULL: not offered',
    running_max Nullable(UInt32) COMMENT 'Requests in work at a time on a server, at most; NULL: not offered',
    waiting_mean Nullable(Float64) COMMENT 'Requests that waited at a time on a server, mean; NULL: not offered',
    kv_cache_pct_mean Nullable(Float64) COMMENT 'KV cache of a server in use, mean, percent; NULL: not offered',
    mem_mib_mean Nullable(Float64) COMMENT 'Memory on one GPU, mean, MiB; beside running_mean; NULL: the driver does not say',
    mem_mib_max Nullable(UInt32) COMMENT 'Most memory on one GPU at any tick, MiB; beside running_max; NULL: the driver does not say',
    usd_per_million_tokens Nullable(Float64) COMMENT 'Price of what was allocated per million tokens read and generated, USD; NULL: no price, no tokens, or not offered',
    usd_per_thousand_requests Nullable(Float64) COMMENT 'Price of what was allocated per thousand requests that did not fail, USD; NULL: no price, or no such requests'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    served AS
    (
        SELECT
            day, if(t.team = '', 'unattributed', t.team) AS owner, model, endpoint, pool,
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
        GROUP BY day, owner, model, endpoint, pool
    ),
    gpus AS
    (
        SELECT
            day, if(u.team = '', 'unattributed', u.team) AS owner, model, endpoint, pool,
            sum(u.held_ms + u.unheld_ms) / 3600000 AS allocated,
            sum(u.busy_ms) / 3600000 AS busy,
            sum(u.unmeasured_ms) > 0 AS unmeasured,
            if(sum(u.mem_known_ms) = 0, NULL, sum(u.mem_mib_ms) / sum(u.mem_known_ms)) AS mem_mean,
            if(sum(u.mem_known_ms) = 0, NULL, max(u.mem_mib_max)) AS mem_max
        FROM usage_daily AS u
        GROUP BY day, owner, model, endpoint, pool
    ),
    money AS
    (
        SELECT day, team, model, endpoint, pool, sum(l.allocated_usd) AS usd
        FROM ledger_daily AS l
        WHERE l.allocated_gpu_hours > 0
        GROUP BY day, team, model, endpoint, pool
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
    1000000 * m.usd / nullIf(s.tokens, 0) AS usd_per_million_tokens,
    1000 * m.usd / nullIf(s.requests - least(s.errors, s.requests), 0) AS usd_per_thousand_requests
FROM served AS s
LEFT JOIN gpus AS g
    ON g.day = s.day AND g.owner = s.owner AND g.model = s.model AND g.endpoint = s.endpoint AND g.pool = s.pool
LEFT JOIN money AS m
    ON m.day = s.day AND m.team = s.owner AND m.model = s.model AND m.endpoint = s.endpoint AND m.pool = s.pool
COMMENT 'Load beside use, by day and endpoint: what a request and a token take of the GPUs, and cost. See docs/traffic.md.'
