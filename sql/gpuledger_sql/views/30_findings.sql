-- What have the rules found, now and before?
CREATE OR REPLACE VIEW findings
(
    id String COMMENT 'Short name of rule and subject; the same each time it comes back',
    rule LowCardinality(String) COMMENT 'Rule that found it, see docs/findings.md',
    subject String COMMENT 'What it is about',
    severity Enum8('info' = 1, 'warning' = 2, 'critical' = 3) COMMENT 'How urgent',
    team LowCardinality(String) COMMENT 'Team that can act on it; empty: whoever runs the fleet',
    pool LowCardinality(String) COMMENT 'Pool that it concerns; empty: none, or more than one',
    usd Nullable(Float64) COMMENT 'Money at stake in a week at the present rate, USD; NULL: no price known, or none at stake',
    evidence Map(LowCardinality(String), String) COMMENT 'Figures that the verdict rests on, by name',
    first_seen DateTime('UTC') COMMENT 'When the rule first found it; a finding that comes back begins anew',
    last_seen DateTime('UTC') COMMENT 'When the rule last found it',
    resolved_at Nullable(DateTime('UTC')) COMMENT 'When the rule first found it no more; NULL: open',
    state LowCardinality(String) COMMENT 'open: act on it. acknowledged: open, and somebody said why nothing is to be done yet. resolved: its cause is gone',
    acked_until Nullable(DateTime('UTC')) COMMENT 'Until when it is, or was, acknowledged; NULL: never was',
    acked_by String COMMENT 'Who acknowledged it last; empty: nobody',
    ack_reason String COMMENT 'Why'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    acks AS
    (
        SELECT
            id,
            argMax(tuple(until, acked_by, reason), acked_at) AS latest
        FROM finding_acks
        GROUP BY id
    )
SELECT
    f.id AS id,
    f.rule AS rule,
    f.subject AS subject,
    f.severity AS severity,
    f.team AS team,
    f.pool AS pool,
    f.usd AS usd,
    f.evidence AS evidence,
    f.first_seen AS first_seen,
    f.last_seen AS last_seen,
    f.resolved_at AS resolved_at,
    multiIf(
        f.resolved_at IS NOT NULL, 'resolved',
        a.latest.1 > now(), 'acknowledged',
        'open'
    ) AS state,
    if(a.id = '', NULL, a.latest.1) AS acked_until,
    a.latest.2 AS acked_by,
    a.latest.3 AS ack_reason
FROM
(
    SELECT
        id, rule, subject, severity, team, pool, usd, evidence, first_seen, last_seen, resolved_at
    FROM finding_versions FINAL
    -- Two evaluations at the same moment may both begin a finding: the earlier one counts.
    ORDER BY first_seen
    LIMIT 1 BY rule, subject, if(resolved_at IS NULL, toDateTime(0, 'UTC'), first_seen)
) AS f
LEFT JOIN acks AS a ON a.id = f.id
COMMENT 'Everything that rules have found, resolved findings included: one row each time that a finding came up.'
