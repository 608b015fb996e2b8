-- What does a GPU cost?
--
-- The first of these prices that fits counts: the longer GPU model, then the one for the pool,
-- then the latest that has begun, as last applied. Views look it up with arrayFirst.
CREATE OR REPLACE VIEW gpu_price_list
(
    prices Array(Tuple(
        gpu_model String, pool String, priced_from DateTime('UTC'), usd_per_gpu_hour Nullable(Float64)
    )) COMMENT 'Prices, the most specific first: part of the GPU model name in lower case, pool of the GPUs (both empty: any), from when on, USD for one GPU for one hour'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT arrayMap(
    ranked -> ranked.2,
    arrayReverseSort(ranked -> ranked.1, groupArray((
        (length(p.gpu_model), p.pool != '', p.priced_from, p.applied_at),
        (lowerUTF8(p.gpu_model), toString(p.pool), p.priced_from, toNullable(toFloat64(p.usd_per_gpu_hour)))
    )))
) AS prices
FROM gpu_prices AS p
COMMENT 'One row: all prices in the order in which they are tried.'
