"""Whether agents report, and report everything."""

from __future__ import annotations

from importlib import metadata

from clickhouse_connect.driver.client import Client

from gpuledger_agent.check_result import Check, Verdict

GONE_DAYS = 7
"""Hosts that have not introduced themselves for so long are taken to be gone for good."""

BACKLOG = 60
"""Batches in a spool: ten minutes of windows of 10 s."""

SHOWN = 3
"""Hosts that a row names."""

_SILENT = """
WITH now('UTC') - toIntervalMinute({minutes:UInt32}) AS heard_from
SELECT count(), countIf(silent), groupArrayIf({shown:UInt8})(host, silent)
FROM
(
    SELECT h.host AS host, h.seen_at < heard_from
        AND (h.cluster, h.host) NOT IN
        (
            SELECT cluster, host
            FROM agent_health
            WHERE toStartOfHour(ts) >= toStartOfHour(heard_from) AND ts + window_s >= heard_from
        ) AS silent
    FROM hosts AS h
    WHERE h.seen_at >= now64(3) - toIntervalDay({days:UInt32})
    ORDER BY host
)
"""

_BACKLOG = """
SELECT count(), sum(batches), groupArray({shown:UInt8})(host)
FROM
(
    SELECT cluster, host, argMax(spool_batches, ts) AS batches
    FROM agent_health
    WHERE toStartOfHour(ts) >= toStartOfHour(now('UTC') - INTERVAL 1 HOUR)
    GROUP BY cluster, host
    HAVING batches >= {limit:UInt32}
    ORDER BY batches DESC
)
"""

_VERSIONS = """
SELECT agent_version, count()
FROM hosts
WHERE seen_at >= now64(3) - toIntervalDay({days:UInt32})
GROUP BY agent_version
ORDER BY count() DESC
"""

_GAPS = """
SELECT uniqExact(cluster, host), topK(3)(reason)
FROM telemetry_gaps
WHERE ts >= now('UTC') - INTERVAL 1 DAY
"""


def silent(client: Client, minutes: int) -> Check:
    """Hosts that were here this week and have sent no window of the last minutes."""
    given = {"minutes": minutes, "days": GONE_DAYS, "shown": SHOWN}
    [(hosts, count, names)] = client.query(_SILENT, parameters=given).result_rows
    if not hosts:
        todo = "start one: gpuledger-agent run --collector HOST:7670"
        return Check(Verdict.WARN, "agents", "no host has reported this week", todo)
    if not count:
        return Check(Verdict.OK, "agents", f"all {hosts} hosts reported within {minutes} min")
    text = f"{count} of {hosts} hosts silent for {minutes} min: {_named(names, count)}"
    verdict = Verdict.FAIL if count == hosts else Verdict.WARN
    return Check(verdict, "agents", text, "there: gpuledger-agent check")


def backlog(client: Client) -> Check:
    """Spools that grow."""
    given = {"limit": BACKLOG, "shown": SHOWN}
    [(count, batches, names)] = client.query(_BACKLOG, parameters=given).result_rows
    if not count:
        return Check(Verdict.OK, "spools", f"none with {BACKLOG} batches or more")
    text = f"{batches} batches wait on {count} hosts: {_named(names, count)}"
    todo = "collector's agents_held_back and insert_seconds (docs/collector.md)"
    return Check(Verdict.WARN, "spools", text, todo)


def versions(client: Client) -> Check:
    """Agents of another version than this command."""
    here = metadata.version("gpuledger")
    rows = client.query(_VERSIONS, parameters={"days": GONE_DAYS}).result_rows
    text = ", ".join(f"{version or 'unknown'} on {count}" for version, count in rows) or "none"
    if all(version == here for version, _ in rows):
        return Check(Verdict.OK, "versions", text)
    return Check(Verdict.WARN, "versions", f"{text}; here {here}", "complete the upgrade")


def gaps(client: Client) -> Check:
    """Windows of the last day that will never come."""
    [(hosts, reasons)] = client.query(_GAPS).result_rows
    if not hosts:
        return Check(Verdict.OK, "gaps", "none in the last day")
    text = f"{hosts} hosts lost windows in the last day: {', '.join(reasons)}"
    return Check(Verdict.WARN, "gaps", text, "look at telemetry_gaps (docs/agent.md)")


def _named(names: list[str], count: int) -> str:
    return ", ".join(names) + (" …" if count > len(names) else "")
