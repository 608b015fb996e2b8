"""Commits what was received to ClickHouse, a group of messages at a time."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import NoReturn

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from gpuledger_collector.admission import Admission, Pending
from gpuledger_collector.call_thread import CallThread
from gpuledger_collector.columns import Insert
from gpuledger_collector.metrics import Metrics
from gpuledger_collector.packing import Verdict, pack, refusal
from gpuledger_collector.store.client import StoreConfig, StoreError, connect, one_line

log = logging.getLogger(__name__)

WRITE_BYTES = 6 << 20
"""Messages of one write, in bytes; reached, it does not wait for more."""

RETRY_MIN_S = 0.5
RETRY_MAX_S = 30.0


class Writer:
    """One loop that writes one group of messages after the other.

    `oldest` tells the oldest start of a window that counts at a time; seconds since the epoch.
    `max_wait_s`: how long the first message of a write waits for others. While ClickHouse is away
    the writer keeps what it has and asks for no more.
    """

    def __init__(
        self,
        store: StoreConfig,
        metrics: Metrics,
        admission: Admission,
        oldest: Callable[[float], float],
        max_wait_s: float,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._admission = admission
        self._oldest = oldest
        self._max_wait_s = max_wait_s
        self._client: Client | None = None
        self._thread = CallThread("writer")
        self._faults: set[str] = set()
        metrics.store_up.set_function(lambda: self.up)

    @property
    def up(self) -> bool:
        """Whether the latest attempt to write succeeded."""
        return not self._faults

    async def run(self) -> NoReturn:
        """Write until cancelled."""
        try:
            while True:
                await self._admission.gather(WRITE_BYTES, self._max_wait_s)
                await self._commit(self._admission.take(WRITE_BYTES))
        finally:
            self._thread.close()

    async def _commit(self, taken: list[Pending]) -> None:
        while taken:
            written = await self._commit_first(taken)
            taken = taken[written:]

    async def _commit_first(self, taken: list[Pending]) -> int:
        """Commit as many of the first as one write holds; return their number."""
        messages = [pending.message for pending in taken]
        try:
            now = time.time()
            packed = await self._thread.call(pack, messages, (self._oldest(now), now))
            began = time.monotonic()
            for insert in packed.inserts:
                await self._until_it_works(insert)
        except Exception as error:  # noqa: BLE001  # whatever a message does to what packs it
            await self._isolate(taken, error)
            return len(taken)
        self._metrics.insert_seconds.observe(time.monotonic() - began)
        self._settle(taken, packed.verdicts)
        return len(packed.verdicts)

    async def _isolate(self, taken: list[Pending], error: Exception) -> None:
        """Find the message that cannot be written and refuse it; write the others."""
        if len(taken) > 1:
            middle = len(taken) // 2
            await self._commit(taken[:middle])
            await self._commit(taken[middle:])
            return
        reason = f"it cannot be written: {one_line(error)}"
        log.error("event=unwritable host=%r reason=%r", taken[0].message.source.host, reason)
        self._settle(taken, [refusal(taken[0].message, reason)])

    def _settle(self, taken: list[Pending], verdicts: list[Verdict]) -> None:
        for pending, verdict in zip(taken, verdicts, strict=False):
            pending.answer(verdict)
        self._admission.release(taken[: len(verdicts)])

    async def _until_it_works(self, insert: Insert) -> None:
        """Insert, again and again until ClickHouse has taken it.

        Its refusals are all taken to pass (memory, disk, parts, an upgrade): an insert is never
        given up for them. Other exceptions are raised.
        """
        attempt = 0
        while True:
            try:
                await self._thread.call(self._insert, insert)
            except (OperationalError, DatabaseError, StoreError, OSError) as error:
                self._store_fails(error)
                attempt += 1
                limit = min(RETRY_MAX_S, RETRY_MIN_S * 2 ** min(attempt, 10))
                await asyncio.sleep(random.uniform(limit / 2, limit))  # noqa: S311  # jitter
            else:
                self._store_works()
                return

    def _store_fails(self, error: Exception) -> None:
        """Say so, once for each kind of fault until the store works again."""
        self._metrics.insert_failures.inc()
        reason = one_line(error)
        _, code, number = reason.rpartition("(ClickHouse error ")
        kind = number if code else type(error).__name__
        if kind not in self._faults:
            self._faults.add(kind)
            log.warning("event=store_fails reason=%r batches are kept and tried again", reason)

    def _store_works(self) -> None:
        if self._faults:
            self._faults.clear()
            log.info("event=store_works_again")

    def _insert(self, insert: Insert) -> None:
        if self._client is None:
            self._client = connect(self._store)
        self._client.insert(
            insert.table,
            insert.columns,
            column_names=insert.names,
            column_type_names=insert.types,
            column_oriented=True,
        )
