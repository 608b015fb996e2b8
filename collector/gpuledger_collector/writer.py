"""Gathers the batches of all agents and commits them to ClickHouse."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import (
    DatabaseError,
    OperationalError,
)

from gpuledger_collector import inventory
from gpuledger_collector.columns import Part, inserts
from gpuledger_collector.metrics import Metrics
from gpuledger_collector.store.client import StoreConfig, StoreError, connect, one_line
from gpuledger_proto.v1 import telemetry_pb2 as wire

log = logging.getLogger(__name__)

MAX_ROWS = 100_000
"""Rows of one write; reached, it does not wait longer."""

MAX_PENDING_BYTES = 256 << 20
"""Bytes of batches, as received, that may be in memory over all agents. Beyond it streams are
no longer read, and agents keep their windows on disk."""

RETRY_MIN_S = 0.5
RETRY_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class Pending:
    """A batch that waits for its commit. `done` is told None, or why it can never be stored."""

    part: Part
    size: int
    done: Callable[[str | None], None]


class Writer:
    """One loop that writes one group of batches after the other, a UTC day at a time.

    `max_wait_s`: how long the first batch of a write waits for others. While ClickHouse is
    away the writer keeps what it has, and takes no more than MAX_PENDING_BYTES.
    """

    def __init__(self, store: StoreConfig, metrics: Metrics, max_wait_s: float) -> None:
        self._store = store
        self._metrics = metrics
        self._client: Client | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._pending: list[Pending] = []
        self._hellos: dict[tuple[str, str], tuple[wire.Hello, float]] = {}
        self._bytes = 0
        self._room = asyncio.Condition()
        self._arrived = asyncio.Event()
        self._closing = False
        self._max_wait_s = max_wait_s
        self.up = True
        """Whether the latest attempt to write succeeded."""

    async def put(self, pending: Pending) -> None:
        """Take a batch over; waits while too many are in memory."""
        async with self._room:
            await self._room.wait_for(lambda: self._bytes < MAX_PENDING_BYTES)
            self._bytes += pending.size
        self._metrics.pending_bytes.set(self._bytes)
        self._pending.append(pending)
        self._arrived.set()

    def introduce(self, hello: wire.Hello) -> None:
        """File a host and its GPUs with the next write; the newest Hello of a host counts."""
        self._hellos[hello.cluster, hello.host] = (hello, time.time())
        self._arrived.set()

    def close(self) -> None:
        """Let `run` end once everything taken over is committed."""
        self._closing = True
        self._arrived.set()

    async def run(self) -> None:
        """Write until closed. What cannot be written yet is kept and tried again."""
        self._metrics.store_up.set(1)
        while not (self._closing and not self._pending and not self._hellos):
            await self._arrived.wait()
            await self._gather()
            taken = self._take()
            hellos, self._hellos = self._hellos, {}
            await self._until_it_works(self._write_hellos, list(hellos.values()))
            if taken:
                await self._commit(taken)
        self._thread.shutdown()

    async def _gather(self) -> None:
        """Wait for more batches, so that inserts are few and large."""
        self._arrived.clear()
        if self._closing:
            return
        deadline = time.monotonic() + self._max_wait_s
        while self._rows() < MAX_ROWS and not self._closing:
            left = deadline - time.monotonic()
            try:
                async with asyncio.timeout(max(left, 0)):
                    await self._arrived.wait()
            except TimeoutError:
                return
            self._arrived.clear()

    def _rows(self) -> int:
        return sum(pending.part.checked.count for pending in self._pending)

    def _take(self) -> list[Pending]:
        """The next write: batches of the day that has waited longest, up to MAX_ROWS."""
        if not self._pending:
            return []
        day = self._pending[0].part.checked.day
        taken: list[Pending] = []
        left: list[Pending] = []
        rows = 0
        for pending in self._pending:
            if pending.part.checked.day == day and rows < MAX_ROWS:
                taken.append(pending)
                rows += pending.part.checked.count
            else:
                left.append(pending)
        self._pending = left
        if left:
            self._arrived.set()
        return taken

    async def _commit(self, taken: list[Pending]) -> None:
        began = time.monotonic()
        try:
            await self._until_it_works(self._write, [pending.part for pending in taken])
        except Exception as error:  # noqa: BLE001  # whatever a batch does to what packs it
            await self._isolate(taken, error)
            return
        self._metrics.insert_seconds.observe(time.monotonic() - began)
        await self._settle(taken, None)

    async def _isolate(self, taken: list[Pending], error: Exception) -> None:
        """Find the batch that cannot be packed and refuse it; write the others."""
        if len(taken) == 1:
            reason = f"it cannot be written: {one_line(error)}"
            log.error("event=batch_unwritable host=%r reason=%r", taken[0].part.source.host, reason)
            await self._settle(taken, reason)
            return
        middle = len(taken) // 2
        await self._commit(taken[:middle])
        await self._commit(taken[middle:])

    async def _settle(self, taken: list[Pending], reason: str | None) -> None:
        for pending in taken:
            pending.done(reason)
        async with self._room:
            self._bytes -= sum(pending.size for pending in taken)
            self._room.notify_all()
        self._metrics.pending_bytes.set(self._bytes)

    async def _until_it_works(self, write: Callable[..., None], argument: object) -> None:
        """Call `write` in the writer's thread until ClickHouse has taken it.

        ClickHouse's refusals are all taken to pass (memory, disk, parts, an upgrade): an
        insert is never given up for them. Other exceptions are raised.
        """
        attempt = 0
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._thread, write, argument)
            except (OperationalError, DatabaseError, StoreError, OSError) as error:
                self._store_fails(error, attempt)
                attempt += 1
                limit = min(RETRY_MAX_S, RETRY_MIN_S * 2 ** min(attempt, 10))
                await asyncio.sleep(random.uniform(limit / 2, limit))  # noqa: S311  # jitter
            else:
                self._store_works()
                return

    def _store_fails(self, error: Exception, attempt: int) -> None:
        self._metrics.insert_failures.inc()
        self._metrics.store_up.set(0)
        self.up = False
        if attempt == 0:
            log.warning("event=store_fails reason=%r batches are kept", one_line(error))

    def _store_works(self) -> None:
        if not self.up:
            log.info("event=store_works_again")
        self._metrics.store_up.set(1)
        self.up = True

    def _write(self, parts: list[Part]) -> None:
        client = self._connected()
        for insert in inserts(parts):
            client.insert(
                insert.table,
                insert.columns,
                column_names=insert.names,
                column_type_names=insert.types,
                column_oriented=True,
            )

    def _write_hellos(self, hellos: list[tuple[wire.Hello, float]]) -> None:
        for hello, seen_at in hellos:
            inventory.store(self._connected(), hello, seen_at)

    def _connected(self) -> Client:
        if self._client is None:
            self._client = connect(self._store)
        return self._client
