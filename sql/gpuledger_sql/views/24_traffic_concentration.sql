-- Do few models carry the traffic, and do they have the GPUs?
--
-- Of the models that inference servers say they serve, also those that nobody asked. Shares of GPUs
-- are among these models; what else the fleet does is left out.
CREATE OR REPLACE VIEW traffic_concentration
(
    day Date COMMENT 'Day, UTC',
    model LowCardinality(String) COMMENT 'Model; empty: not said',
    rank UInt32 COMMENT 'Place of the model by requests, the most asked being 1',
    models UInt32 COMMENT 'Models that were served on the day',
    requests UInt64 COMMENT 'Requests that ended, well or not',
    tokens UInt64 COMMENT 'Tokens read and generated; 0 where not offered',
    request_share_pct Float64 COMMENT 'Its share of the requests, percent',
    cumulative_request_share_pct Float64 COMMENT 'Share of the requests of this and all models that are asked more, percent: the Pareto curve',
    allocated_gpu_hours Float64 COMMENT 'Allocated to the model, GPU-hours',
    busy_gpu_hours Float64 COMMENT 'SMs busy for the model, GPU-hours',
    gpu_share_pct Nullable(Float64) COMMENT 'Its share of what is allocated to served models, percent; NULL: nothing is',
    cumulative_gpu_share_pct Nullable(Float64) COMMENT 'Share of this and all models that are asked more, percent'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    served AS
    (
        SELECT
            day, model,
            sum(t.requests) AS requests,
            sum(t.prompt_tokens + t.generated_tokens) AS tokens
        FROM traffic_daily AS t
        GROUP BY day, model
    ),
    gpus AS
    (
        SELECT
            day, model,
            sum(u.held_ms + u.unheld_ms) AS allocated_ms,
            sum(u.busy_ms) AS busy_ms
        FROM usage_daily AS u
        GROUP BY day, model
    )
SELECT
    s.day AS day,
    s.model AS model,
    toUInt32(row_number() OVER by_requests) AS rank,
    toUInt32(count() OVER of_day) AS models,
    s.requests AS requests,
    s.tokens AS tokens,
    ifNull(100 * s.requests / nullIf(sum(s.requests) OVER of_day, 0), 0) AS request_share_pct,
    ifNull(100 * sum(s.requests) OVER by_requests / nullIf(sum(s.requests) OVER of_day, 0), 0) AS cumulative_request_share_pct,
    g.allocated_ms / 3600000 AS allocated_gpu_hours,
    g.busy_ms / 3600000 AS busy_gpu_hours,
    100 * g.allocated_ms / nullIf(sum(g.allocated_ms) OVER of_day, 0) AS gpu_share_pct,
    100 * sum(g.allocated_ms) OVER by_requests / nullIf(sum(g.allocated_ms) OVER of_day, 0) AS cumulative_gpu_share_pct
FROM served AS s
LEFT JOIN gpus AS g ON g.day = s.day AND g.model = s.model
WINDOW
    of_day AS (PARTITION BY s.day),
    by_requests AS (PARTITION BY s.day ORDER BY s.requests DESC, s.model ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
COMMENT 'Share of requests by day and model, the most asked first, beside the share of GPUs.'
