-- title = "Findings open at the end of the period, or resolved in it"
-- keys = ["id", "first_seen"]
SELECT
    id,
    first_seen,
    if(f.resolved_at < {until:DateTime('UTC')}, 'resolved', 'open') AS state_then,
    first_seen >= {since:DateTime('UTC')} AS is_new,
    state = 'acknowledged' AS is_acknowledged,
    rule,
    severity,
    team,
    pool,
    subject,
    usd AS usd_per_week,
    resolved_at,
    acked_until,
    acked_by,
    ack_reason,
    evidence
FROM findings AS f
WHERE first_seen < {until:DateTime('UTC')}
    AND (resolved_at IS NULL OR resolved_at >= {since:DateTime('UTC')})
    AND {team:String} IN ('', team)
ORDER BY state_then, is_acknowledged, usd DESC NULLS LAST, severity DESC, first_seen, rule, subject
