-- What should be acted on now?
CREATE OR REPLACE VIEW open_findings
(
    id String COMMENT 'Short name of rule and subject: gpuledger findings ack ID',
    rule LowCardinality(String) COMMENT 'Rule that found it, see docs/findings.md',
    subject String COMMENT 'What it is about',
    severity Enum8('info' = 1, 'warning' = 2, 'critical' = 3) COMMENT 'How urgent',
    team LowCardinality(String) COMMENT 'Team that can act on it; empty: whoever runs the fleet',
    pool LowCardinality(String) COMMENT 'Pool that it concerns; empty: none, or more than one',
    usd Nullable(Float64) COMMENT 'Money at stake in a week at the present rate, USD; NULL: no price known, or none at stake',
    evidence Map(LowCardinality(String), String) COMMENT 'Figures that the verdict rests on, by name',
    first_seen DateTime('UTC') COMMENT 'When the rule first found it',
    last_seen DateTime('UTC') COMMENT 'When the rule last found it'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    id,
    rule,
    subject,
    severity,
    team,
    pool,
    usd,
    evidence,
    first_seen,
    last_seen
FROM findings
WHERE state = 'open'
ORDER BY usd DESC NULLS LAST, severity DESC, first_seen, rule, subject
COMMENT 'Findings that are open and not acknowledged, the worst money first.'
