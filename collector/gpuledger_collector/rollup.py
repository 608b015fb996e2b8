"""Hourly roll-ups: hours that new rows touched are recomputed whole from raw.

How a recomputed hour comes to count is told in `migrations/0003_rollups.sql`. Only the clock of
ClickHouse is used, so any number of roll-ups may run on any hosts.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from gpuledger_collector.put_off import PutOff
from gpuledger_collector.rollup_days import DayRollup
from gpuledger_collector.rollup_sql import KEEP_S, SETTINGS, VERSIONS_AT_ONCE, sql
from gpuledger_collector.store.client import one_line

log = logging.getLogger(__name__)

MEASURED = ("capacity", "usage", "workload", "traffic")
"""Statements that compute an hour from raw, one a table."""

DERIVED = ("endpoint", "isolation")
"""Statements that go on from there, for any versions of hours."""

TABLES = tuple(f"{name}_hourly_versions" for name in (*MEASURED, *DERIVED))

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
    `refused`: called for each hour or day that ClickHouse will not compute.
    """

    def __init__(
        self,
        client: Client,
        *,
        settle_s: int = SETTLE_S,
        pause_s: float = PAUSE_S,
        refused: Callable[[], object] = lambda: None,
    ) -> None:
        self._client = client
        self._settle_s = settle_s
        self._pause_s = pause_s
        self._put_off = PutOff(refused)
        self._days = DayRollup(client, refused=refused)
        self._passes = 0

    def run_once(self) -> int:
        """Recompute the hours that are due, a bounded number of them; return how many.

        Raises ClickHouseError. An hour that was not finished is due again, and none that cannot be
        computed holds up others.
        """
        due = self._due()
        for each in due:
            with self._put_off.attempt(each.hour):
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

    def derive(self, versions: Sequence[tuple[str, str]]) -> None:
        """Compute what follows from what these versions measured; each is (hour, computed_at)."""
        for first in range(0, len(versions), VERSIONS_AT_ONCE):
            for name in DERIVED:
                self._execute(name, versions=versions[first : first + VERSIONS_AT_ONCE])

    def sweep(self, keep_s: int = KEEP_S) -> None:
        """Delete versions that ceased to count more than `keep_s` seconds ago."""
        for table in TABLES:
            parameters = {"table": table, "keep_s": keep_s, "limit": VERSIONS_AT_ONCE}
            versions = self._client.query(sql("superseded"), parameters=parameters).result_rows
            if versions:
                parameters = {"table": table, "versions": list(versions)}
                self._client.command(sql("sweep"), parameters=parameters)
        self._days.sweep(keep_s)

    def _due(self) -> list[_Due]:
        parameters = {
            "settle_s": self._settle_s,
            "put_off": self._put_off.names(),
            "limit": HOURS_AT_ONCE,
        }
        rows = self._client.query(sql("due"), parameters=parameters).result_rows
        return [_Due(hour, bool(expired)) for hour, expired in rows]

    def _roll_up(self, due: _Due) -> None:
        begin = self._client.query(sql("begin"), parameters={"hour": due.hour})
        [(started, counting)] = begin.result_rows
        version = started
        if due.expired:
            version = counting
            log.warning("event=rollup_kept hour=%r late rows came after raw ones expired", due.hour)
        else:
            for name in MEASURED:
                self._execute(name, hour=due.hour, computed_at=version)
            self.derive([(due.hour, version)])
        self._execute("commit", hour=due.hour, computed_at=version, rolled_at=started)

    def _execute(self, name: str, **parameters: object) -> None:
        self._client.command(sql(name), parameters=parameters, settings=SETTINGS)
