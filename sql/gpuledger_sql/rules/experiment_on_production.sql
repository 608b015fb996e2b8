-- description = "Work of another pool runs on GPUs of the production pool."
-- remedy = "Move it to GPUs of its own pool; look first at whom slo_hurt names, then at the teams it shares hosts with."
-- severity = "critical"
-- [thresholds]
-- production_pool = { default = "production", unit = "pool", meaning = "Pool that is to be kept free of other work" }
-- lookback_hours = { default = 24, unit = "hours", meaning = "How far back to look" }
-- min_gpu_hours = { default = 0.1, unit = "GPU-hours", meaning = "Least use in that time" }
WITH
    (SELECT prices FROM gpu_price_list) AS prices,
    (SELECT max(c.last_seen) FROM capacity_hourly AS c) AS newest,
    work AS
    (
        SELECT
            hour, cluster, host, gpu, gpu_model, host_pool, pool, model, endpoint, workload,
            if(w.team = '', 'unattributed', w.team) AS team,
            (w.held_ms + w.unheld_ms) / 3600000 AS gpu_hours
        FROM workload_hourly AS w
        WHERE w.host_pool = {production_pool:String}
            AND w.hour >= newest - toIntervalSecond(3600 * {lookback_hours:Float64})
    ),
    hosts AS
    (
        SELECT hour, cluster, host, groupUniqArrayIf(w.team, w.pool = w.host_pool) AS residents
        FROM work AS w
        GROUP BY hour, cluster, host
    ),
    beside AS
    (
        SELECT DISTINCT
            g.cluster AS cluster, g.team AS guest, g.pool AS guest_pool,
            r.hour AS hour, r.team AS team, r.model AS model, r.endpoint AS endpoint
        FROM (SELECT DISTINCT hour, cluster, host, team, pool FROM work WHERE pool != host_pool) AS g
        INNER JOIN work AS r ON r.hour = g.hour AND r.cluster = g.cluster AND r.host = g.host
        WHERE r.pool = r.host_pool
    ),
    attainment AS
    (
        SELECT
            hour, team, model, endpoint,
            s.outcome = 'missed' AS missed,
            countIf(s.outcome = 'missed') OVER of_endpoint AS missed_in_all,
            count() OVER of_endpoint AS judged_in_all
        FROM slo_attainment AS s
        WHERE s.outcome IN ('met', 'missed', 'unclear')
            AND s.hour >= newest - toIntervalSecond(3600 * {lookback_hours:Float64})
        WINDOW of_endpoint AS (PARTITION BY s.team, s.model, s.endpoint)
    ),
    hurt AS
    (
        SELECT cluster, guest, guest_pool, arrayStringConcat(arraySort(groupArray(10)(said)), '; ') AS endpoints
        FROM
        (
            SELECT
                b.cluster AS cluster, b.guest AS guest, b.guest_pool AS guest_pool,
                countIf(a.missed) AS missed,
                concat(
                    arrayStringConcat(arrayFilter(part -> part != '', [b.team, b.model, b.endpoint]), ' '),
                    ' missed in ', toString(missed), ' of ', toString(count()), ' hours beside it, in ',
                    toString(any(a.missed_in_all) - missed), ' of ', toString(any(a.judged_in_all) - count()), ' others'
                ) AS said
            FROM beside AS b
            INNER JOIN attainment AS a
                ON a.hour = b.hour AND a.team = b.team AND a.model = b.model AND a.endpoint = b.endpoint
            GROUP BY b.cluster, b.guest, b.guest_pool, b.team, b.model, b.endpoint
            HAVING missed > 0
        )
        GROUP BY cluster, guest, guest_pool
    )
SELECT
    concat(w.team, ' (', w.pool, ')', if(w.cluster = '', '', concat(' in ', w.cluster))) AS subject,
    w.team AS team,
    {production_pool:String} AS pool,
    168 / {lookback_hours:Float64} * sum(w.gpu_hours * arrayFirst(
        price -> price.priced_from <= {now:DateTime('UTC')}
            AND price.pool IN ('', w.host_pool)
            AND (price.gpu_model = '' OR position(lowerUTF8(w.gpu_model), price.gpu_model) > 0),
        prices
    ).usd_per_gpu_hour) AS usd,
    map(
        'from_pool', toString(w.pool),
        'gpu_hours', toString(round(sum(w.gpu_hours), 2)),
        'gpus', toString(uniqExact(w.host, w.gpu)),
        'hosts', arrayStringConcat(arraySort(groupUniqArray(10)(w.host)), ', '),
        'workloads', arrayStringConcat(arraySort(groupUniqArray(10)(w.workload)), ', '),
        'shares_hosts_with', arrayStringConcat(arraySort(groupUniqArrayArray(h.residents)), ', '),
        'slo_hurt', any(t.endpoints),
        'last_hour', toString(max(w.hour))
    ) AS evidence
FROM work AS w
INNER JOIN hosts AS h ON h.hour = w.hour AND h.cluster = w.cluster AND h.host = w.host
LEFT JOIN hurt AS t ON t.cluster = w.cluster AND t.guest = w.team AND t.guest_pool = w.pool
WHERE w.pool != w.host_pool
GROUP BY w.cluster, w.team, w.pool
HAVING sum(w.gpu_hours) >= {min_gpu_hours:Float64}
