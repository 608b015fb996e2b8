-- What did a GPU cost in each hour?
--
-- The most specific price that fits and had begun: the longer GPU model, then the one for the
-- pool, then the latest.
CREATE OR REPLACE VIEW gpu_price_hourly
(
    hour DateTime('UTC') COMMENT 'Start of the hour',
    pool LowCardinality(String) COMMENT 'Pool of the GPUs',
    gpu_model LowCardinality(String) COMMENT 'GPU model as NVML names it, or as a request does',
    usd_per_gpu_hour Nullable(Float64) COMMENT 'Price of one GPU for one hour, USD; NULL: none is known'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    (
        SELECT arrayReverseSort(groupArray((
            length(p.gpu_model), p.pool != '', p.priced_from, p.applied_at,
            lowerUTF8(p.gpu_model), p.pool, toNullable(toFloat64(p.usd_per_gpu_hour))
        )))
        FROM gpu_prices AS p
    ) AS prices
SELECT
    hour,
    pool,
    gpu_model,
    arrayFirst(
        price -> price.3 <= hour
            AND (price.5 = '' OR positionUTF8(lowerUTF8(gpu_model), price.5) > 0)
            AND price.6 IN ('', pool),
        prices
    ).7 AS usd_per_gpu_hour
FROM
(
    SELECT hour, host_pool AS pool, gpu_model FROM usage_hourly
    UNION DISTINCT
    SELECT r.hour, g.pool, g.fleet_gpu_model
    FROM requested_hourly AS r
    INNER JOIN request_groups AS g ON g.request_group = r.request_group
)
COMMENT 'Price of every GPU model that was used or requested, by hour.'
