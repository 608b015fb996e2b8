-- Which requests wait for a decision?
CREATE OR REPLACE VIEW proposed_requests
(
    id String COMMENT 'Capacity request',
    team LowCardinality(String) COMMENT 'Who asks',
    pool LowCardinality(String) COMMENT 'In which pool',
    model LowCardinality(String) COMMENT 'For which model; empty: any',
    endpoint LowCardinality(String) COMMENT 'For which endpoint; empty: any',
    gpus Float64 COMMENT 'How many GPUs',
    usd_per_hour Nullable(Float64) COMMENT 'Price of these for one hour, USD; NULL: no price known'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    (SELECT prices FROM gpu_price_list) AS prices,
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
    gpus * arrayFirst(
        price -> price.priced_from <= now('UTC')
            AND price.pool IN ('', l.request.2)
            AND (price.gpu_model = '' OR position(lowerUTF8(l.request.5), price.gpu_model) > 0),
        prices
    ).usd_per_gpu_hour AS usd_per_hour
FROM latest AS l
WHERE l.request.7 = 'proposed'
COMMENT 'Capacity requests that are proposed, in their latest version.'
