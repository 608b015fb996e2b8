-- What does a team already operate, before it asks for more?
--
-- Work is that of the last 7 days of telemetry; what is declared and found is as of now. Who has none of it
-- is left out, and who was renamed stands under both names until the old one has not run for 7 days.
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
    last_hour Nullable(DateTime('UTC')) COMMENT 'Start of the latest hour in which it ran; NULL: not in the last 7 days'
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
    named AS
    (
        SELECT team FROM owners_seen
        UNION DISTINCT
        SELECT team FROM capacity_requests
        UNION DISTINCT
        SELECT team FROM slos
        UNION DISTINCT
        SELECT team FROM finding_versions
    ),
    owners AS
    (
        SELECT
            team, model, endpoint, pool, gpu_model,
            sum(u.held_ms + u.unheld_ms) AS allocated_ms,
            max(u.hour) AS last_hour
        FROM usage_hourly AS u
        WHERE u.hour >= since
        GROUP BY team, model, endpoint, pool, gpu_model
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
        -- As slo_attainment judges: of each model the objective that began last, unless it is over.
        SELECT
            team,
            endpoint,
            arrayFilter(objective -> objective.valid_from <= now(), s.objectives) AS begun,
            arrayFilter(
                (model, valid_until, number) -> number = 1 AND valid_until > now(),
                begun.model, begun.valid_until, arrayEnumerateUniq(begun.model)
            ) AS models
        FROM slo_list AS s
    ),
    running AS
    (
        SELECT
            o.team AS team,
            uniqExactIf(o.model, o.model != '') AS models,
            uniqExactIf(o.model, o.model != '' AND (o.team, o.model) IN (SELECT team, model FROM unasked)) AS unasked_models,
            uniqExactIf((o.endpoint, o.model), o.endpoint != '') AS endpoints,
            uniqExactIf(
                (o.endpoint, o.model),
                o.endpoint != '' AND NOT has(p.models, '') AND NOT has(p.models, o.model)
            ) AS unpromised_endpoints,
            uniqExact(o.pool) AS pools,
            uniqExact(o.gpu_model) AS gpu_models,
            sum(o.allocated_ms) AS allocated_ms,
            toNullable(max(o.last_hour)) AS last_hour
        FROM owners AS o
        LEFT JOIN promised AS p ON p.team = o.team AND p.endpoint = o.endpoint
        GROUP BY team
    ),
    hosting AS
    (
        SELECT team, count() AS hosts
        FROM
        (
            SELECT team, cluster, host
            FROM workload_hourly AS w
            WHERE w.hour >= since
            GROUP BY team, cluster, host
        ) AS w
        GROUP BY team
    ),
    promising AS
    (
        SELECT team, sum(length(p.models)) AS slos FROM promised AS p GROUP BY team
    ),
    requesting AS
    (
        SELECT team, count() AS requests, sum(r.gpus) AS gpus
        FROM requests_in_force AS r
        WHERE r.counts_from <= now() AND r.counts_until > now()
        GROUP BY team
    ),
    proposing AS
    (
        SELECT team, count() AS requests, sum(r.gpus) AS gpus FROM proposed_requests AS r GROUP BY team
    ),
    found AS
    (
        SELECT team, count() AS findings, sum(f.usd) AS usd
        FROM open_findings AS f
        WHERE f.team != ''
        GROUP BY team
    )
SELECT
    if(n.team = '', 'unattributed', n.team) AS team,
    w.models AS models,
    w.unasked_models AS models_without_traffic,
    w.endpoints AS endpoints,
    w.unpromised_endpoints AS endpoints_without_slo,
    s.slos AS slos,
    h.hosts AS hosts,
    w.pools AS pools,
    w.gpu_models AS gpu_models,
    ifNull(w.allocated_ms / 1000 / nullIf(observed_s, 0), 0) AS allocated_gpus,
    r.requests AS requests_in_force,
    r.gpus AS requested_gpus,
    p.gpus AS proposed_gpus,
    f.findings AS open_findings,
    f.usd AS open_findings_usd,
    w.last_hour AS last_hour
FROM named AS n
LEFT JOIN running AS w ON w.team = n.team
LEFT JOIN hosting AS h ON h.team = n.team
LEFT JOIN promising AS s ON s.team = n.team
LEFT JOIN requesting AS r ON r.team = n.team
LEFT JOIN proposing AS p ON p.team = n.team
LEFT JOIN found AS f ON f.team = n.team
WHERE w.last_hour IS NOT NULL OR s.slos > 0 OR r.requests > 0 OR p.requests > 0 OR f.findings > 0
COMMENT 'What every team operates: models, endpoints, hosts, what is promised and asked for, and what is found.'
