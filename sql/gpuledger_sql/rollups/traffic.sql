-- One hour of what inference servers served, from raw: {hour} is recomputed whole as version {computed_at}.
INSERT INTO traffic_hourly_versions
WITH
    minutes AS
    (
        -- What one server did for one of its models in one minute.
        SELECT
            cluster, host_pool, pool, team, model, endpoint, use_case,
            host, workload, server, served_model,
            toMinute(ts) AS minute,
            least(sum(w.observed_ms), 60000) AS observed,
            sum(w.requests) AS requests,
            sum(w.errors) AS errors,
            sum(w.prompt_tokens) AS prompt_tokens,
            sum(w.generated_tokens) AS generated_tokens,
            sum(w.running_ms) AS running_ms,
            sumIf(w.observed_ms, bitAnd(w.offered, 16) > 0) AS running_known_ms,
            max(w.running_max) AS running_max,
            sum(w.waiting_ms) AS waiting_ms,
            sumIf(w.observed_ms, bitAnd(w.offered, 32) > 0) AS waiting_known_ms,
            max(w.waiting_max) AS waiting_max,
            sumIf(toUInt64(w.kv_cache_pct_mean) * w.observed_ms, bitAnd(w.offered, 64) > 0) AS kv_cache_pct_ms,
            sumIf(w.observed_ms, bitAnd(w.offered, 64) > 0) AS kv_cache_known_ms,
            max(w.kv_cache_pct_max) AS kv_cache_pct_max,
            sum(w.latency_ms) AS latency_ms,
            sum(w.ttft_ms) AS ttft_ms,
            sumMap(w.latency_buckets, w.latency_counts) AS latency,
            sumMap(w.ttft_buckets, w.ttft_counts) AS ttft,
            groupBitOr(w.offered) AS offered
        FROM endpoint_traffic_raw AS w FINAL
        WHERE ts >= {hour:DateTime('UTC')} AND ts < {hour:DateTime('UTC')} + INTERVAL 1 HOUR
        GROUP BY cluster, host_pool, pool, team, model, endpoint, use_case, host, workload, server, served_model, minute
    ),
    owners AS
    (
        SELECT
            cluster, host_pool, pool, team, model, endpoint, use_case, minute,
            groupUniqArray((m.host, m.workload, m.server, m.served_model)) AS servers,
            max(m.observed) AS observed,
            sum(m.requests) AS requests,
            sum(m.errors) AS errors,
            sum(m.prompt_tokens) AS prompt_tokens,
            sum(m.generated_tokens) AS generated_tokens,
            sum(m.running_ms) AS running_ms,
            sum(m.running_known_ms) AS running_known_ms,
            max(m.running_max) AS running_max,
            sum(m.waiting_ms) AS waiting_ms,
            sum(m.waiting_known_ms) AS waiting_known_ms,
            max(m.waiting_max) AS waiting_max,
            sum(m.kv_cache_pct_ms) AS kv_cache_pct_ms,
            sum(m.kv_cache_known_ms) AS kv_cache_known_ms,
            max(m.kv_cache_pct_max) AS kv_cache_pct_max,
            sum(m.latency_ms) AS latency_ms,
            sum(m.ttft_ms) AS ttft_ms,
            sumMap(m.latency.1, m.latency.2) AS latency,
            sumMap(m.ttft.1, m.ttft.2) AS ttft,
            groupBitOr(m.offered) AS offered
        FROM minutes AS m
        GROUP BY cluster, host_pool, pool, team, model, endpoint, use_case, minute
    )
SELECT
    {hour:DateTime('UTC')} AS hour,
    {computed_at:DateTime64(6, 'UTC')} AS computed_at,
    cluster, host_pool, pool, team, model, endpoint, use_case,
    length(groupUniqArrayArray(o.servers)) AS servers,
    groupArrayInsertAt(0, 60)(o.observed, o.minute) AS observed_ms_by_minute,
    groupArrayInsertAt(0, 60)(o.requests, o.minute) AS requests_by_minute,
    sum(o.requests) AS requests,
    sum(o.errors) AS errors,
    sum(o.prompt_tokens) AS prompt_tokens,
    sum(o.generated_tokens) AS generated_tokens,
    sum(o.running_ms) AS running_ms,
    sum(o.running_known_ms) AS running_known_ms,
    max(o.running_max) AS running_max,
    sum(o.waiting_ms) AS waiting_ms,
    sum(o.waiting_known_ms) AS waiting_known_ms,
    max(o.waiting_max) AS waiting_max,
    sum(o.kv_cache_pct_ms) AS kv_cache_pct_ms,
    sum(o.kv_cache_known_ms) AS kv_cache_known_ms,
    max(o.kv_cache_pct_max) AS kv_cache_pct_max,
    sum(o.latency_ms) AS latency_ms,
    sum(o.ttft_ms) AS ttft_ms,
    sumMap(o.latency.1, o.latency.2).1 AS latency_buckets,
    sumMap(o.latency.1, o.latency.2).2 AS latency_counts,
    sumMap(o.ttft.1, o.ttft.2).1 AS ttft_buckets,
    sumMap(o.ttft.1, o.ttft.2).2 AS ttft_counts,
    groupBitOr(o.offered) AS offered
FROM owners AS o
GROUP BY cluster, host_pool, pool, team, model, endpoint, use_case
