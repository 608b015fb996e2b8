"""Daily books: days are computed from their hours, and stay when the hours have gone.

Nobody reads them before that, so they are not kept fresh: a day is computed once it is over and its
hours have rested, again when late rows changed one of them, and in its last week by the hour again,
so that it leaves as it was last seen. See `migrations/0004_days.sql`.
"""

from __future__ import annotations

from collections.abc import Callable

from clickhouse_connect.driver.client import Client

from gpuledger_collector.put_off import PutOff
from gpuledger_collector.rollup_sql import KEEP_S, SETTINGS, VERSIONS_AT_ONCE, sql

VIEWS = (
    *("usage_daily", "capacity_daily", "ledger_daily", "resource_profile"),
    *("traffic_daily", "scaling_verdict"),
)
"""What a day consists of; each has a table of versions with the same columns."""

REST_S = 3600
"""So long no hour of a day must have been computed: longer than the roll-up of an hour takes."""

DAYS_AT_ONCE = 1
"""Days computed before hours have their turn again."""


class DayRollup:
    """Computes days over one connection. Used by one thread at a time.

    `rest_s`: how long the hours of a day must have been left alone.
    `refused`: called for each day that ClickHouse will not compute.
    """

    def __init__(
        self, client: Client, *, rest_s: int = REST_S, refused: Callable[[], object] = lambda: None
    ) -> None:
        self._client = client
        self._rest_s = rest_s
        self._put_off = PutOff(refused)

    def run_once(self) -> int:
        """Compute the days that are due, a bounded number of them; return how many.

        Raises ClickHouseError. A day that was not finished is due again, and none that cannot be
        computed holds up others.
        """
        parameters = {
            "rest_s": self._rest_s,
            "put_off": self._put_off.names(),
            "limit": DAYS_AT_ONCE,
        }
        days = self._client.query(sql("days_due"), parameters=parameters).result_rows
        for (day,) in days:
            with self._put_off.attempt(day):
                self.roll_up(day)
        return len(days)

    def leaving(self, days: int) -> list[str]:
        """Days (YYYY-MM-DD) that would lose their hours if only `days` days of hours were kept."""
        rows = self._client.query(sql("days_leaving"), parameters={"days": days}).result_rows
        return [str(day) for (day,) in rows]

    def roll_up(self, day: str) -> None:
        """Compute a day (YYYY-MM-DD) from its hours; one that has none any more stays as it is."""
        begin = self._client.query(sql("day_begin"), parameters={"day": day})
        [(version,)] = begin.result_rows
        for view in VIEWS:
            self._execute("day", day=day, computed_at=version, view=view, table=table_of(view))
        self._execute("day_commit", day=day, computed_at=version)

    def sweep(self, keep_s: int = KEEP_S) -> None:
        """Delete versions that ceased to count more than `keep_s` seconds ago."""
        for table in map(table_of, VIEWS):
            parameters = {"table": table, "keep_s": keep_s, "limit": VERSIONS_AT_ONCE}
            versions = self._client.query(sql("days_superseded"), parameters=parameters).result_rows
            if versions:
                parameters = {"table": table, "versions": list(versions)}
                self._client.command(sql("days_sweep"), parameters=parameters)

    def _execute(self, name: str, **parameters: str) -> None:
        self._client.command(sql(name), parameters=parameters, settings=SETTINGS)


def table_of(view: str) -> str:
    """The table that holds the versions of a daily view."""
    return f"{view}_versions"
