-- title = "What each team operates already"
-- keys = ["team"]
SELECT
    team,
    o.models AS models,
    o.models_without_traffic AS models_without_traffic,
    o.endpoints AS endpoints,
    o.endpoints_without_slo AS endpoints_without_slo,
    o.slos AS slos,
    o.hosts AS hosts,
    o.pools AS pools,
    o.gpu_models AS gpu_models,
    o.allocated_gpus AS allocated_gpus,
    o.requests_in_force AS requests_in_force,
    o.requested_gpus AS requested_gpus,
    o.proposed_gpus AS proposed_gpus,
    o.open_findings AS open_findings,
    o.open_findings_usd AS open_findings_usd_per_week,
    o.last_hour AS last_hour
FROM operational_surface AS o
WHERE {team:String} IN ('', team)
ORDER BY endpoints DESC, allocated_gpus DESC, team
