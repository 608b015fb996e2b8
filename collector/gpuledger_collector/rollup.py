"""Hourly roll-ups: hours that new rows touched are recomputed whole from raw.

How a recomputed hour comes to count is told in `migrations/0003_rollups.sql`. Only the clock of
ClickHouse is used, so any number of roll-ups may run on any hosts.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from gpuledger_collector.rollup_days import DayRollup
from gpuledger_collector.rollup_sql import KEEP_S, SETTINGS, SWEPT_AT_ONCE, sql
from gpuledger_collector.store.client import one_line

log = logging.getLogger(__name__)

TABLES = (
    *("usage_hourly_versions", "capacity_hourly_versions", "workload_hourly_versions"),
    "traffic_hourly_versions",
)

PAUSE_S = 5.0
"""Between looking for touched hours."""

SETTLE_S = 60
"""Longer than any insert takes: so long may rows lag behind the mark of their hour."""

REST = 4
"""Times as long as a pass took does the next one wait: a large fleet's present hour, recomputed
whole again and again, then keeps a fifth of ClickHouse busy at most."""

HOURS_AT_ONCE = 6
"""Hours taken up before looking again, so that a long backlog neither stales the present nor
delays a stop."""

SWEEP_EVERY = 60
"""Passes between deletions of superseded versions."""


@dataclass(frozen=True, slots=True)
class _Due:
    """An hour to recompute. `expired`: its raw rows may be gone, so its version must stay."""

    hour: str
    expired: bool


class Rollup:
    """Recomputes touched hours over one connection. Used by one thread at a time.

    `settle_s`: an hour is computed once more so many seconds after its last rows arrived.
    `pause_s`: how long `run` waits before it looks for touched hours again.
    """

    def __init__(
        self, client: Client, *, settle_s: int = SETTLE_S, pause_s: float = PAUSE_S
    ) -> None:
        self._client = client
        self._settle_s = settle_s
        self._pause_s = pause_s
        self._days = DayRollup(client)
        self._passes = 0

    def run_once(self) -> int:
        """Recompute the hours that are due, a bounded number of them; return how many.

        Raises ClickHouseError. An hour that was not finished is due again.
        """
        due = self._due()
        for each in due:
            self._roll_up(each)
        self._passes += 1
        if self._passes % SWEEP_EVERY == 0:
            self.sweep()
        return len(due)

    def run(self, stop: threading.Event) -> None:
        """Keep hours fresh, and days when there is time, until `stop` is set.

        Outlives a ClickHouse that goes away.
        """
        failing = False
        while not stop.is_set():
            started = time.monotonic()
            backlog = False
            try:
                backlog = self.run_once() >= HOURS_AT_ONCE
                if not backlog:
                    self._days.run_once()
                if failing:
                    log.info("event=rollup_works_again")
                failing = False
            except (ClickHouseError, OSError) as error:
                if not failing:
                    log.warning("event=rollup_failed error=%r it is tried again", one_line(error))
                failing = True
            took = time.monotonic() - started
            stop.wait(0.0 if backlog else max(self._pause_s, took * REST))

    def sweep(self, keep_s: int = KEEP_S) -> None:
        """Delete versions that ceased to count more than `keep_s` seconds ago."""
        for table in TABLES:
            parameters = {"table": table, "keep_s": keep_s, "limit": SWEPT_AT_ONCE}
            versions = self._client.query(sql("superseded"), parameters=parameters).result_rows
            if versions:
                parameters = {"table": table, "versions": list(versions)}
                self._client.command(sql("sweep"), parameters=parameters)
        self._days.sweep(keep_s)

    def _due(self) -> list[_Due]:
        rows = self._client.query(
            sql("due"), parameters={"settle_s": self._settle_s, "limit": HOURS_AT_ONCE}
        ).result_rows
        return [_Due(hour, bool(expired)) for hour, expired in rows]

    def _roll_up(self, due: _Due) -> None:
        begin = self._client.query(sql("begin"), parameters={"hour": due.hour})
        [(started, counting)] = begin.result_rows
        version = started
        if due.expired:
            version = counting
            log.warning("event=rollup_kept hour=%r late rows came after raw ones expired", due.hour)
        else:
            for name in ("capacity", "usage", "workload", "traffic"):
                self._execute(name, hour=due.hour, computed_at=version)
        self._execute("commit", hour=due.hour, computed_at=version, rolled_at=started)

    def _execute(self, name: str, **parameters: str) -> None:
        self._client.command(sql(name), parameters=parameters, settings=SETTINGS)
