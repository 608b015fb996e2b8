-- What does a team already operate, before it asks for more?
--
-- What ran: the last 7 days of telemetry. What is declared and found: as of now. A team stands here if
-- any of it is not nothing; after a change of name both names do, until the old one has not run for 7 days.
CREATE OR REPLACE VIEW operational_surface
(
    team LowCardinality(String) COMMENT 'Team; unattributed: nobody said',
    models UInt64 COMMENT 'Models that ran in the last 7 days',
    models_without_traffic UInt64 COMMENT 'Models of these that inference servers held ready and nobody asked; where no server tells, none are counted',
    endpoints UInt64 COMMENT 'Endpoints that ran in the last 7 days, counted once for each of their models',
    endpoints_without_slo UInt64 COMMENT 'Endpoints of these for which no objective is in force',
    slos UInt64 COMMENT 'Objectives in force, whether their endpoints ran or not',
    hosts UInt64 COMMENT 'Hosts that it ran on in the last 7 days',
    pools UInt64 COMMENT 'Pools that it ran in in the last 7 days',
    gpu_models UInt64 COMMENT 'GPU models that it ran on in the last 7 days',
    allocated_gpus Float64 COMMENT 'GPUs held, or granted without a process, mean of the time observed in the last 7 days, whole GPUs',
    requests_in_force UInt64 COMMENT 'Capacity requests that count now',
    requested_gpus Float64 COMMENT 'GPUs that these ask for',
    proposed_gpus Float64 COMMENT 'GPUs asked for by requests that wait for a decision',
    open_findings UInt64 COMMENT 'Findings that the team can act on, open and not acknowledged; those without a team are in no row',
    open_findings_usd Nullable(Float64) COMMENT 'Sum of their money at stake in a week, USD; they may speak of the same GPUs; NULL: no price known, or none at stake',
    last_seen Nullable(DateTime('UTC')) COMMENT 'When its work was last seen; NULL: not in the last 7 days'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    (SELECT max(hour) FROM rolled_hours) - INTERVAL 7 DAY AS since,
    (
        SELECT sum(h.seconds)
        FROM
        (
            SELECT dateDiff('second', min(c.first_seen), max(c.last_seen)) AS seconds
            FROM capacity_hourly AS c
            WHERE c.hour >= since
            GROUP BY c.hour
        ) AS h
    ) AS observed_s,
    places AS
    (
        SELECT
            team, model, endpoint, cluster, host, pool, gpu_model,
            sum(w.held_ms + w.unheld_ms) AS allocated_ms,
            max(w.last_seen) AS last_seen
        FROM workload_hourly AS w
        WHERE w.hour >= since
        GROUP BY team, model, endpoint, cluster, host, pool, gpu_model
    ),
    unasked AS
    (
        SELECT team, model
        FROM traffic_hourly AS t
        WHERE t.hour >= since
        GROUP BY team, model
        HAVING sum(t.requests) = 0 AND bitAnd(groupBitOr(t.offered), 1) > 0
    ),
    promised AS
    (
        SELECT
            team,
            endpoint,
            arrayFilter(objective -> objective.valid_from <= now(), s.objectives) AS begun,
            arrayJoin(arrayFilter(
                (objective, number) -> number = 1 AND objective.valid_until > now(),
                begun, arrayEnumerateUniq(begun.model)
            )).model AS model
        FROM slo_list AS s
    ),
    running AS
    (
        SELECT
            team,
            uniqExactIf(p.model, p.model != '') AS models,
            uniqExactIf(p.model, p.model != '' AND (p.team, p.model) IN (SELECT team, model FROM unasked)) AS unasked_models,
            uniqExactIf((p.endpoint, p.model), p.endpoint != '') AS endpoints,
            uniqExactIf((p.endpoint, p.model), p.endpoint != ''
                AND (p.team, p.endpoint, p.model) NOT IN (SELECT team, endpoint, model FROM promised)
                AND (p.team, p.endpoint) NOT IN (SELECT team, endpoint FROM promised WHERE model = '')
            ) AS unpromised_endpoints,
            uniqExact(p.cluster, p.host) AS hosts,
            uniqExact(p.pool) AS pools,
            uniqExact(p.gpu_model) AS gpu_models,
            sum(p.allocated_ms) AS allocated_ms,
            toNullable(max(p.last_seen)) AS last_seen
        FROM places AS p
        GROUP BY team
    ),
    promises AS
    (
        SELECT team, count() AS slos FROM promised GROUP BY team
    ),
    requested AS
    (
        SELECT team, count() AS requests, sum(r.gpus) AS gpus
        FROM requests_in_force AS r
        WHERE r.counts_from <= now() AND r.counts_until > now()
        GROUP BY team
    ),
    proposed AS
    (
        SELECT team, sum(r.gpus) AS gpus FROM proposed_requests AS r GROUP BY team
    ),
    found AS
    (
        SELECT team, count() AS findings, sum(f.usd) AS usd
        FROM open_findings AS f
        WHERE f.team != ''
        GROUP BY team
    )
SELECT
    if(t.team = '', 'unattributed', t.team) AS team,
    w.models AS models,
    w.unasked_models AS models_without_traffic,
    w.endpoints AS endpoints,
    w.unpromised_endpoints AS endpoints_without_slo,
    s.slos AS slos,
    w.hosts AS hosts,
    w.pools AS pools,
    w.gpu_models AS gpu_models,
    ifNull(w.allocated_ms / 1000 / nullIf(observed_s, 0), 0) AS allocated_gpus,
    r.requests AS requests_in_force,
    r.gpus AS requested_gpus,
    p.gpus AS proposed_gpus,
    f.findings AS open_findings,
    f.usd AS open_findings_usd,
    w.last_seen AS last_seen
FROM
(
    SELECT team FROM running
    UNION DISTINCT
    SELECT team FROM promises
    UNION DISTINCT
    SELECT team FROM requested
    UNION DISTINCT
    SELECT team FROM proposed
    UNION DISTINCT
    SELECT team FROM found
) AS t
LEFT JOIN running AS w ON w.team = t.team
LEFT JOIN promises AS s ON s.team = t.team
LEFT JOIN requested AS r ON r.team = t.team
LEFT JOIN proposed AS p ON p.team = t.team
LEFT JOIN found AS f ON f.team = t.team
COMMENT 'What every team operates: models, endpoints, hosts, what is promised and asked for, and what is found. See docs/sql.md.'
