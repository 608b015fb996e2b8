-- title = "How far the books reach"
-- keys = []
SELECT
    (SELECT max(last_seen) FROM capacity_hourly) AS newest_telemetry,
    (SELECT hourly_from FROM kept_from) AS hourly_from
