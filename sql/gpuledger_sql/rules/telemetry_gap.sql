-- description = "A host lost telemetry, or fell silent: what it did in that time nobody can say."
-- remedy = "On the host, look at gpuledger-agent check and the log of the agent; for a host that is gone for good, wait forget_days."
-- severity = "warning"
-- [thresholds]
-- lookback_hours = { default = 24, unit = "hours", meaning = "How far back lost telemetry counts" }
-- min_gap_minutes = { default = 10, unit = "minutes", meaning = "Least time lost within that" }
-- silent_minutes = { default = 15, unit = "minutes", meaning = "How long a host may be silent" }
-- forget_days = { default = 7, unit = "days", meaning = "How long after its last word a silent host counts as gone" }
WITH
    toIntervalSecond(60 * {silent_minutes:Float64}) AS patience,
    lost AS
    (
        SELECT
            cluster, host,
            intervalLengthSum(toUnixTimestamp(g.ts), toUnixTimestamp(g.ts + g.gap_s)) AS gap_s,
            sum(g.rows) AS lost_rows,
            arrayStringConcat(arraySort(groupUniqArray(g.reason)), ', ') AS reasons
        FROM telemetry_gaps AS g
        WHERE g.ts >= {now:DateTime('UTC')} - toIntervalSecond(3600 * {lookback_hours:Float64})
        GROUP BY cluster, host
        HAVING gap_s >= 60 * {min_gap_minutes:Float64}
    ),
    reporting AS
    (
        SELECT DISTINCT cluster, host
        FROM agent_health AS h
        WHERE h.ts >= {now:DateTime('UTC')} - patience
    ),
    unheard AS
    (
        SELECT cluster, host, host_pool, toDateTime(h.seen_at, 'UTC') AS introduced
        FROM hosts AS h
        WHERE (h.cluster, h.host) NOT IN (SELECT cluster, host FROM reporting)
            AND h.seen_at < {now:DateTime('UTC')} - patience
    ),
    last_words AS
    (
        SELECT cluster, host, max(h.ts) AS ts
        FROM agent_health AS h
        WHERE (h.cluster, h.host) IN (SELECT cluster, host FROM unheard)
            AND h.ts >= {now:DateTime('UTC')} - toIntervalSecond(86400 * {forget_days:Float64})
        GROUP BY cluster, host
    ),
    silent AS
    (
        SELECT
            u.cluster AS cluster, u.host AS host,
            greatest(u.introduced, l.ts) AS since
        FROM unheard AS u
        LEFT JOIN last_words AS l ON l.cluster = u.cluster AND l.host = u.host
        WHERE since >= {now:DateTime('UTC')} - toIntervalSecond(86400 * {forget_days:Float64})
    ),
    concerned AS
    (
        SELECT cluster, host, gap_s, lost_rows, reasons, '' AS silent_since FROM lost
        UNION ALL
        SELECT cluster, host, 0, 0, '', toString(since) FROM silent
    )
SELECT
    trim(LEADING '/' FROM concat(c.cluster, '/', c.host)) AS subject,
    '' AS team,
    any(h.host_pool) AS pool,
    CAST(NULL AS Nullable(Float64)) AS usd,
    map(
        'silent_since', max(c.silent_since),
        'lost_minutes', toString(round(sum(c.gap_s) / 60, 1)),
        'lost_rows', toString(sum(c.lost_rows)),
        'reasons', max(c.reasons),
        'agent_version', any(h.agent_version)
    ) AS evidence
FROM concerned AS c
LEFT JOIN hosts AS h ON h.cluster = c.cluster AND h.host = c.host
GROUP BY c.cluster, c.host
