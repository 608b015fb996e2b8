-- Which objectives have been set?
--
-- The latest version of each; the latest to begin comes first. Views look the one in force up with
-- arrayFirst: one that names the model goes before one for any, and one that begins later takes the
-- place of an earlier one of the same model for good, also when it has ended itself.
CREATE OR REPLACE VIEW slo_list
(
    team LowCardinality(String) COMMENT 'Team that the endpoint belongs to',
    endpoint LowCardinality(String) COMMENT 'Endpoint',
    objectives Array(Tuple(
        model String, valid_from DateTime('UTC'), valid_until DateTime('UTC'), latency_ms UInt32,
        percentile Float64, throughput_rps Nullable(Float64), attainment_pct Float64, owner String
    )) COMMENT 'Objectives, the latest to begin first: model (empty: any), from when on, until when (2106: no end), latency in milliseconds, percentile, requests a second (NULL: not said), percent of the hours, who answers for it'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT
    team,
    endpoint,
    arrayReverseSort(objective -> objective.2, groupArray((
        toString(s.model), s.valid_from, s.said.1, s.said.2, s.said.3, s.said.4, s.said.5, s.said.6
    ))) AS objectives
FROM
(
    SELECT
        team, endpoint, model, valid_from,
        argMax(tuple(
            ifNull(slo.valid_until, toDateTime('2106-01-01 00:00:00', 'UTC')),
            slo.latency_ms,
            toFloat64(slo.percentile),
            toNullable(toFloat64(slo.throughput_rps)),
            toFloat64(slo.attainment_pct),
            slo.owner
        ), applied_at) AS said
    FROM slos AS slo
    GROUP BY team, endpoint, model, valid_from
) AS s
GROUP BY team, endpoint
COMMENT 'Objectives by team and endpoint, in the order in which they are tried.'
