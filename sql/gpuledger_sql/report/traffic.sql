-- title = "Who carries the traffic"
-- keys = ["model"]
-- As traffic_concentration has it by the day, over the hours of the period. Shares are among the
-- models that inference servers told of; NULL where no server of the model counts its requests.
WITH
    served AS
    (
        SELECT
            model,
            if(bitAnd(groupBitOr(t.offered), 1) = 0, NULL, sum(t.requests)) AS requests
        FROM traffic_hourly AS t
        WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
            AND {team:String} IN ('', if(t.team = '', 'unattributed', t.team))
        GROUP BY model
    ),
    gpus AS
    (
        SELECT model, sum(u.held_ms + u.unheld_ms) AS allocated_ms
        FROM usage_hourly AS u
        WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
            AND {team:String} IN ('', if(u.team = '', 'unattributed', u.team))
        GROUP BY model
    )
SELECT
    s.model AS model,
    row_number() OVER by_requests AS rank,
    s.requests AS requests,
    100 * s.requests / nullIf(sum(s.requests) OVER (), 0) AS request_share_pct,
    if(s.requests IS NULL, NULL, 100 * sum(s.requests) OVER by_requests / nullIf(sum(s.requests) OVER (), 0)) AS cumulative_request_share_pct,
    g.allocated_ms / 3600000 AS allocated_gpu_hours,
    100 * g.allocated_ms / nullIf(sum(g.allocated_ms) OVER (), 0) AS gpu_share_pct,
    100 * sum(g.allocated_ms) OVER by_requests / nullIf(sum(g.allocated_ms) OVER (), 0) AS cumulative_gpu_share_pct
FROM served AS s
LEFT JOIN gpus AS g ON g.model = s.model
WINDOW by_requests AS (ORDER BY s.requests DESC NULLS LAST, s.model ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
ORDER BY rank
