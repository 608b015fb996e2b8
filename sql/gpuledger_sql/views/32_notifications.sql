-- Who was told what of which finding, and what waits to be told?
CREATE OR REPLACE VIEW notifications
(
    receiver LowCardinality(String) COMMENT 'Receiver, as the notify file calls it',
    finding String COMMENT 'Id of the finding',
    rule LowCardinality(String) COMMENT 'Rule that found it',
    subject String COMMENT 'What it is about',
    first_seen DateTime('UTC') COMMENT 'When the finding came up',
    number UInt32 COMMENT 'Which notice of this finding to this receiver it is, from 1 on',
    change Enum8('opened' = 1, 'escalated' = 2, 'eased' = 3, 'resolved' = 4) COMMENT 'What is told',
    severity LowCardinality(String) COMMENT 'How urgent',
    team LowCardinality(String) COMMENT 'Team that can act on it, as first told',
    pool LowCardinality(String) COMMENT 'Pool that it concerns, as first told',
    usd Nullable(Float64) COMMENT 'Money at stake in a week at the rate of then, USD; NULL: none known',
    noticed_at DateTime64(6, 'UTC') COMMENT 'When it was found that this is to be told',
    state Enum8('waiting' = 1, 'sent' = 2, 'failed' = 3) COMMENT 'waiting: to be sent. sent: the receiver took it. failed: given up',
    message String COMMENT 'Message that told it, or is to: the webhook-id; empty: none yet',
    attempts UInt32 COMMENT 'How often sending failed',
    not_before DateTime64(3, 'UTC') COMMENT 'When it may be tried again',
    fault String COMMENT 'Why sending failed last; empty: it did not',
    said_at DateTime64(6, 'UTC') COMMENT 'When it was sent, given up, or last tried'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    receiver,
    finding,
    rule,
    subject,
    first_seen,
    number,
    change,
    severity,
    team,
    pool,
    usd,
    noticed_at,
    state,
    message,
    attempts,
    not_before,
    fault,
    said_at
FROM notification_versions FINAL
COMMENT 'Notices of findings: what was told to whom, what waits, what was given up.'
