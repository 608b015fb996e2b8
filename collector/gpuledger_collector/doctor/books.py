"""Whether the books are of this version, kept as long as was set, and rolled up."""

from __future__ import annotations

from clickhouse_connect.driver.client import Client

from gpuledger_agent.check_result import Check, Verdict
from gpuledger_collector.rollup import SETTLE_S
from gpuledger_collector.store import migrate, noted, retention
from gpuledger_collector.store.migrate import MigrationError

LATE_S = 15 * 60
STUCK_S = 2 * 3600
"""Seconds that touched hours wait before it is a warning, and before it is a failure."""

_WAITING = """
SELECT count(), max(waiting_s)
FROM
(
    SELECT t.hour, dateDiff('second', t.touched_at, now64(6)) AS waiting_s
    FROM
    (
        SELECT hour, max(touched_at) AS touched_at
        FROM touched_hours
        WHERE hour >= (SELECT hourly_from FROM kept_from)
        GROUP BY hour
    ) AS t
    LEFT JOIN (SELECT hour, max(rolled_at) AS rolled_at FROM rolled_hours GROUP BY hour) AS r
        ON r.hour = t.hour
    WHERE t.touched_at >= r.rolled_at AND waiting_s > {settle_s:UInt32}
)
"""


def schema(client: Client) -> Check:
    """Whether `gpuledger migrate` has anything to do."""
    try:
        steps = migrate.status(client)
    except MigrationError as error:
        text, _, todo = str(error).partition(": ")
        return Check(Verdict.FAIL, "schema", text, todo)
    missing = [step.name for step in steps if not step.applied]
    if missing:
        text = f"lacks {', '.join(missing)}"
        return Check(Verdict.FAIL, "schema", text, "run gpuledger migrate")
    return Check(Verdict.OK, "schema", f"{steps[-2].name.removesuffix('.sql')}, views as here")


def kept(client: Client) -> Check:
    """Whether the TTLs of the tables are what the set retention asks for."""
    # System tables leave out what a user may not read; this table refuses.
    client.query("SELECT count() FROM retention")
    planned = retention.plan(client, {})
    text = "; ".join(f"{kind} {planned.state(kind)}" for kind in planned.current)
    if planned.ttls:
        return Check(Verdict.FAIL, "retention", text, "run gpuledger migrate; leave TTLs to it")
    return Check(Verdict.OK, "retention", text)


def names(client: Client) -> Check:
    """Whether the ledger knows the names of all that is in its hours."""
    found = noted.lacking(client)
    if not any(found.values()):
        return Check(Verdict.OK, "names", "all that hours know")
    lacks = " and ".join(f"{table} lacks {count}" for table, count in found.items() if count)
    text = f"{lacks} that hours have: they were restored without it"
    return Check(Verdict.FAIL, "names", text, "run gpuledger migrate")


def rollups(client: Client) -> Check:
    """Whether hours with new rows are recomputed in time."""
    [(hours, waiting_s)] = client.query(_WAITING, parameters={"settle_s": SETTLE_S}).result_rows
    if not hours:
        return Check(Verdict.OK, "roll-ups", "no touched hour waits")
    text = f"{hours} touched hours wait, the longest for {waiting_s // 60} min"
    if waiting_s < LATE_S:
        return Check(Verdict.OK, "roll-ups", text)
    verdict = Verdict.FAIL if waiting_s >= STUCK_S else Verdict.WARN
    todo = "is gpuledger serve running? its log has event=rollup_failed or rollup_refused"
    return Check(verdict, "roll-ups", text, todo)
