-- What people were told of findings, and what they are still to be told. A notice is a row that is
-- written again as it fares: waiting, then sent or failed. How collectors share this work is told in
-- docs/notifications.md.

CREATE TABLE IF NOT EXISTS notification_versions
(
    receiver LowCardinality(String) COMMENT 'Receiver, as the notify file calls it',
    finding String COMMENT 'Id of the finding',
    first_seen DateTime('UTC') COMMENT 'When the finding came up, as it was when it was first told',
    number UInt32 COMMENT 'Which notice of this finding to this receiver it is, from 1 on',
    change Enum8('opened' = 1, 'escalated' = 2, 'eased' = 3, 'resolved' = 4) COMMENT 'What is told',
    rule LowCardinality(String) COMMENT 'Rule that found it',
    subject String COMMENT 'What it is about',
    severity LowCardinality(String) COMMENT 'How urgent',
    severity_before LowCardinality(String) COMMENT 'What this receiver was told before; empty: nothing',
    team LowCardinality(String) COMMENT 'Team that can act on it, as first told',
    pool LowCardinality(String) COMMENT 'Pool that it concerns, as first told',
    usd Nullable(Float64) COMMENT 'Money at stake in a week at the rate of then, USD; NULL: none known',
    evidence Map(LowCardinality(String), String) COMMENT 'Figures that the verdict rests on, by name',
    resolved_at Nullable(DateTime('UTC')) COMMENT 'When the rule first found it no more; NULL: open',
    noticed_at DateTime64(6, 'UTC') COMMENT 'When it was found that this is to be told',
    join_key String COMMENT 'Notices of the same key are told in one message; empty: each in its own',
    message String COMMENT 'Message that told it, or is to: the webhook-id; empty: none yet',
    state Enum8('waiting' = 1, 'sent' = 2, 'failed' = 3) COMMENT 'waiting: to be sent. sent: the receiver took it. failed: given up',
    attempts UInt32 COMMENT 'How often sending failed',
    not_before DateTime64(3, 'UTC') COMMENT 'When it may be tried again',
    fault String COMMENT 'Why sending failed last; empty: it did not',
    said_at DateTime64(6, 'UTC') COMMENT 'When this version was written',
    version UInt64 MATERIALIZED bitShiftLeft(toUInt64(state != 'waiting'), 62) + toUInt64(toUnixTimestamp64Micro(said_at)) COMMENT 'The highest counts: what was sent does not wait again, whoever says so later'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (receiver, finding, first_seen, number)
COMMENT 'Notices of findings, before deduplication. Read notifications instead. Written by collectors.';

CREATE TABLE IF NOT EXISTS notifier_leases
(
    holder String COMMENT 'Who claims to be the one that sends; a new name for every claim',
    said_at DateTime64(6, 'UTC') COMMENT 'When this was said, by the clock of ClickHouse; the first is the claim, the latest counts',
    until DateTime64(6, 'UTC') COMMENT 'When the claim ends, unless it is renewed'
)
ENGINE = MergeTree
ORDER BY (holder, said_at)
TTL toDateTime(said_at) + INTERVAL 1 DAY
COMMENT 'Which collector sends notices: of the claims that have not ended, the earliest. Written by collectors.';
