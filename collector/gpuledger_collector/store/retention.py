"""How long windows, hours and days are kept: settings in the database, and TTLs that follow them.

The table `retention` is what counts; see `migrations/0004_days.sql`. A TTL that differs from it (a
change that was cut off, a table that came with a newer version, somebody's ALTER) is put right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from gpuledger_collector.store.client import StoreError, one_line

FOREVER = "forever"

_UNITS = {"d": 1, "w": 7, "mo": 31, "y": 366}
"""Days. Long months and years, so that never less is kept than was asked for."""

_MAX_DAYS = 50 * 366
"""ClickHouse's DateTime ends in 2106."""

MIN_RAW_DAYS = 2
MIN_HOURLY_DAYS = 31
"""Views look back 30 days by the hour (idle_allocations)."""

MARGIN_DAYS = 2
"""Hours outlive windows by so many days, so that the latest window still corrects its day."""

TABLES = {
    "raw": (
        *("process_usage_raw", "gpu_usage_raw", "gpu_allocation_raw"),
        *("agent_health_raw", "endpoint_traffic_raw"),
    ),
    "hourly": (
        *("usage_hourly_versions", "capacity_hourly_versions", "workload_hourly_versions"),
        *("traffic_hourly_versions", "endpoint_hourly_versions", "isolation_hourly_versions"),
        *("rolled_hours", "touched_hours", "telemetry_gaps_raw"),
    ),
    "daily": (
        *("usage_daily_versions", "capacity_daily_versions", "ledger_daily_versions"),
        *("resource_profile_versions", "traffic_daily_versions", "scaling_verdict_versions"),
        "rolled_days",
    ),
}
"""What each setting is about."""

_ANNOUNCE = """
INSERT INTO retention (kind, days, stated, whole_from)
SELECT
    {kind:String} AS kind,
    {days:UInt32},
    {stated:String},
    multiIf(
        (SELECT count() FROM touched_hours) = 0, toDateTime(0, 'UTC'),
        kind = 'raw', raw_from,
        kind = 'hourly', hourly_from,
        toDateTime(0, 'UTC')
    )
FROM kept_from
"""
"""Takes along what is whole; a database that has nothing yet has let nothing go."""

_DAY_BEGINS = {
    "raw": "toStartOfDay(ts)",
    "hourly": "toStartOfDay(hour)",
    "daily": "toDateTime(day, 'UTC')",
    "telemetry_gaps_raw": "toStartOfDay(ts)",
}
"""By kind, or by table where that differs."""


class RetentionError(ValueError):
    """A retention that cannot be; says why and what to write instead in one line."""


@dataclass(frozen=True, slots=True)
class Retention:
    """So many days, the present one included; 0 is for ever. `stated`: as somebody wrote it."""

    stated: str
    days: int

    @property
    def longest(self) -> float:
        """For comparison: days, infinite for ever."""
        return self.days or float("inf")


def parse(text: str) -> Retention:
    """Read 14d, 6w, 13mo, 2y or forever. Raises RetentionError."""
    if text == FOREVER:
        return Retention(FOREVER, 0)
    match = re.fullmatch(r"([1-9][0-9]{0,4})(d|w|mo|y)", text, re.ASCII)
    if match is None:
        raise RetentionError(f"{text!r}: write 14d, 6w, 13mo, 2y or {FOREVER}")
    days = int(match[1]) * _UNITS[match[2]]
    if days > _MAX_DAYS:
        raise RetentionError(f"{text}: at most 50y; or write {FOREVER}")
    return Retention(text, days)


DEFAULTS = {"raw": parse("14d"), "hourly": parse("13mo"), "daily": parse(FOREVER)}
"""As `migrations/0004_days.sql` writes them into a new database."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What would have to change: settings by kind, and TTLs by table ("" for none)."""

    current: Mapping[str, Retention]
    settings: Mapping[str, Retention]
    ttls: Mapping[str, str]

    def state(self, kind: str) -> str:
        """What there is of a kind, and in a few words what is missing."""
        stated = self.current[kind].stated
        if kind in self.settings:
            return f"{stated}, to become {self.settings[kind].stated}"
        lacking = [table for table in TABLES[kind] if table in self.ttls]
        return f"{stated}, not yet of {', '.join(lacking)}" if lacking else stated

    def names(self) -> list[str]:
        """What would be applied, a line each."""
        wanted = {**self.current, **self.settings}
        kinds = [k for k in TABLES if k in self.settings or self.ttls.keys() & {*TABLES[k]}]
        return [f"retention {kind} {wanted[kind].stated}" for kind in kinds]


def plan(client: Client, wanted: Mapping[str, Retention]) -> Plan:
    """What it takes for `wanted` (by kind; what it lacks stays as it is) to hold.

    Raises RetentionError if together they make no sense, StoreError.
    """
    try:
        current = _settings(client)
        merged = {**current, **wanted}
        _check(merged)
        ttls = _ttls(client)
    except ClickHouseError as error:
        raise StoreError(one_line(error)) from error
    changed = {k: r for k, r in wanted.items() if r.days != current[k].days}
    expected = {t: _ttl(kind, t, merged[kind]) for kind, tables in TABLES.items() for t in tables}
    return Plan(current, changed, {t: expected[t] for t, ttl in ttls.items() if ttl != expected[t]})


def apply(client: Client, planned: Plan) -> None:
    """Carry it out; cut off anywhere, the next run completes or undoes it. Raises StoreError.

    Shorter ones are announced before, longer ones after the tables follow: readers and collectors
    never count on what may have been dropped.
    """
    changed = planned.settings.items()
    shorter = {kind for kind, kept in changed if kept.longest < planned.current[kind].longest}
    try:
        _announce(client, planned, shorter)
        for table, ttl in planned.ttls.items():
            change = f"MODIFY TTL {ttl}" if ttl else "REMOVE TTL"
            client.command(f"ALTER TABLE {table} {change}", settings={"mutations_sync": 1})
        _announce(client, planned, planned.settings.keys() - shorter)
    except ClickHouseError as error:
        raise StoreError(f"retention: {one_line(error)}") from error


def _check(settings: Mapping[str, Retention]) -> None:
    raw, hourly, daily = (settings[kind] for kind in ("raw", "hourly", "daily"))
    if raw.longest < MIN_RAW_DAYS:
        raise RetentionError(f"raw {raw.stated}: at least {MIN_RAW_DAYS}d")
    if hourly.longest < MIN_HOURLY_DAYS:
        raise RetentionError(f"hourly {hourly.stated}: at least {MIN_HOURLY_DAYS}d")
    if hourly.longest < raw.longest + MARGIN_DAYS:
        raise RetentionError(
            f"hourly {hourly.stated} must be {MARGIN_DAYS}d longer than raw {raw.stated},"
            " so that late windows can correct their day"
        )
    if daily.longest < hourly.longest:
        raise RetentionError(f"daily {daily.stated} must be no shorter than hourly {hourly.stated}")


def _settings(client: Client) -> dict[str, Retention]:
    if not client.query("EXISTS TABLE retention").result_rows[0][0]:
        return dict(DEFAULTS)
    rows = client.query(
        "SELECT kind, argMax(stated, applied_at), argMax(days, applied_at)"
        " FROM retention GROUP BY kind"
    ).result_rows
    return {**DEFAULTS, **{kind: Retention(stated, days) for kind, stated, days in rows}}


def _ttls(client: Client) -> dict[str, str]:
    """The TTL of every table that has one or should, as ClickHouse writes it; "" for none."""
    rows = client.query(
        "SELECT name, extract(engine_full, ' TTL (.+?) SETTINGS ') FROM system.tables"
        " WHERE database = currentDatabase() AND name IN {tables:Array(String)}",
        parameters={"tables": [table for tables in TABLES.values() for table in tables]},
    ).result_rows
    return {str(name): str(ttl) for name, ttl in rows}


def _ttl(kind: str, table: str, kept: Retention) -> str:
    if not kept.days:
        return ""
    begins = _DAY_BEGINS.get(table, _DAY_BEGINS[kind])
    return f"{begins} + toIntervalHour({24 * kept.days + 1})"


def _announce(client: Client, planned: Plan, kinds: Iterable[str]) -> None:
    for kind in sorted(kinds):
        kept = planned.settings[kind]
        setting = {"kind": kind, "days": kept.days, "stated": kept.stated}
        client.command(_ANNOUNCE, parameters=setting)
