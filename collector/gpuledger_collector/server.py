"""The gRPC side: one session per agent, from Hello to the last Ack."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from typing import Any

import grpc

from gpuledger_collector.columns import Part, Source
from gpuledger_collector.metrics import Metrics
from gpuledger_collector.validate import (
    MAX_BYTES,
    MAX_ROWS,
    BatchRefused,
    Checked,
    HelloRefused,
    check_batch,
    check_hello,
)
from gpuledger_collector.writer import Pending, Writer
from gpuledger_proto.v1 import telemetry_pb2 as wire
from gpuledger_proto.v1.telemetry_pb2_grpc import TelemetryServicer

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 64
"""Batches of one agent that may be unanswered: with a write a second, so many windows a second of
a backlog are drained. What all agents together may have in memory is bounded by the writer."""

HELLO_S = 30.0
"""A stream that does not introduce itself in this time is ended."""

Context = grpc.aio.ServicerContext[wire.AgentMessage, wire.CollectorMessage]


class TelemetryService(TelemetryServicer):
    """Serves `gpuledger.v1.Telemetry`.

    `oldest`: the oldest start of a window that still counts, as of now; seconds since the epoch.
    """

    def __init__(self, writer: Writer, metrics: Metrics, oldest: Callable[[float], float]) -> None:
        self._writer = writer
        self._metrics = metrics
        self._oldest = oldest

    async def Stream(  # type: ignore[override]  # noqa: N802  # the stub is for threads
        self, request_iterator: AsyncIterator[wire.AgentMessage], context: Context
    ) -> None:
        """One agent, until it leaves."""
        session = _Session(self._writer, self._metrics, self._oldest, context)
        with self._metrics.agents.track_inprogress():
            await session.run(request_iterator)


class _Session:
    """One stream. Answers leave in a task of their own, so that a slow agent stalls only itself."""

    def __init__(
        self,
        writer: Writer,
        metrics: Metrics,
        oldest: Callable[[float], float],
        context: Context,
    ) -> None:
        self._writer = writer
        self._metrics = metrics
        self._oldest = oldest
        self._context = context
        self._source = Source("", "", "")
        self._unanswered = 0
        self._acks: list[int] = []
        self._refusals: list[wire.Refusal] = []
        self._answer = asyncio.Event()
        self._all_answered = asyncio.Event()
        self._all_answered.set()

    async def run(self, messages: AsyncIterator[wire.AgentMessage]) -> None:
        try:
            async with asyncio.timeout(HELLO_S):
                first = await anext(messages)
        except (TimeoutError, StopAsyncIteration):
            await self._end(grpc.StatusCode.DEADLINE_EXCEEDED, "no Hello")
            return
        if first.WhichOneof("body") != "hello":
            await self._end(grpc.StatusCode.INVALID_ARGUMENT, "the first message must be Hello")
            return
        await self._introduced(first.hello)
        await self._context.write(_welcome())
        answers = asyncio.create_task(self._send_answers())
        try:
            async for message in messages:
                await self._receive(message)
            # The agent has said all it had to say; it may still wait for answers.
            await self._all_answered.wait()
        finally:
            answers.cancel()

    async def _receive(self, message: wire.AgentMessage) -> None:
        match message.WhichOneof("body"):
            case "hello":
                await self._introduced(message.hello)
            case "batch":
                await self._batch(message.batch, message.ByteSize())
            case _:
                pass  # a newer agent may say more

    async def _introduced(self, hello: wire.Hello) -> None:
        try:
            check_hello(hello)
        except HelloRefused as refused:
            await self._end(grpc.StatusCode.INVALID_ARGUMENT, f"Hello: {refused}")
        if self._source.host and hello.host != self._source.host:
            await self._end(grpc.StatusCode.INVALID_ARGUMENT, "Hello: one stream is one host")
        self._source = Source(hello.cluster, hello.host, hello.host_pool)
        self._writer.introduce(hello)

    async def _batch(self, batch: wire.Batch, size: int) -> None:
        self._unanswered += 1
        self._all_answered.clear()
        if self._unanswered > MAX_IN_FLIGHT:
            await self._end(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"more than {MAX_IN_FLIGHT} batches are unanswered",
            )
        sequence = batch.sequence
        now = time.time()
        try:
            checked = check_batch(batch, now, self._oldest(now))
        except BatchRefused as refused:
            self._refuse(sequence, str(refused), rows=_rows(batch), whole=True)
            return
        if not checked.count and checked.refused:
            self._refuse(sequence, checked.reason, rows=checked.refused, whole=True)
            return

        def done(reason: str | None) -> None:
            self._done(sequence, checked, reason)

        await self._writer.put(Pending(Part(self._source, checked), size, done))

    def _done(self, sequence: int, checked: Checked, reason: str | None) -> None:
        if reason is not None:
            self._refuse(sequence, reason, rows=checked.count, whole=True)
            return
        self._metrics.rows_acked.inc(checked.count)
        if checked.refused:
            self._refuse(sequence, checked.reason, rows=checked.refused, whole=False)
            return
        self._metrics.batches_acked.inc()
        self._acks.append(sequence)
        self._answer.set()

    def _refuse(self, sequence: int, reason: str, *, rows: int, whole: bool) -> None:
        self._metrics.rows_refused.inc(rows)
        if whole:
            self._metrics.batches_refused.inc()
        log.warning(
            "event=refused host=%r sequence=%d rows=%d reason=%r",
            *(self._source.host, sequence, rows, reason),
        )
        refusal = wire.Refusal(
            sequence=sequence, reason=reason, rows_refused=rows, whole_batch=whole
        )
        self._refusals.append(refusal)
        self._answer.set()

    async def _send_answers(self) -> None:
        """Write answers as they come; many acks make one message."""
        while True:
            await self._answer.wait()
            self._answer.clear()
            acks, self._acks = self._acks, []
            refusals, self._refusals = self._refusals, []
            if acks:
                await self._context.write(wire.CollectorMessage(ack=wire.Ack(sequences=acks)))
            for refusal in refusals:
                await self._context.write(wire.CollectorMessage(refusal=refusal))
            self._unanswered -= len(acks) + len(refusals)
            if not self._unanswered:
                self._all_answered.set()

    async def _end(self, code: grpc.StatusCode, reason: str) -> None:
        self._metrics.agents_refused.inc()
        log.warning("event=agent_refused peer=%r reason=%r", self._context.peer(), reason)
        await self._context.abort(code, reason)


def _welcome() -> wire.CollectorMessage:
    return wire.CollectorMessage(
        welcome=wire.Welcome(
            collector_version=version("gpuledger"),
            max_in_flight=MAX_IN_FLIGHT,
            max_batch_rows=MAX_ROWS,
            max_batch_bytes=MAX_BYTES,
        )
    )


def _rows(batch: wire.Batch) -> int:
    tables: tuple[Any, ...] = (
        batch.process_usage,
        batch.gpu_usage,
        batch.gpu_allocation,
        batch.agent_health,
    )
    return sum(len(table.window_start) for table in tables)
