"""One stream of one agent: from Hello to the last answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import NoReturn

import grpc
from google.protobuf.message import DecodeError

from gpuledger_collector.access import Access, AccessRefused, Context
from gpuledger_collector.admission import FIRST_CREDIT, MAX_CREDIT, Admission, next_credit
from gpuledger_collector.columns import Source
from gpuledger_collector.metrics import Metrics
from gpuledger_collector.packing import Message, Verdict
from gpuledger_collector.validate import MAX_BYTES, MAX_ROWS, HelloRefused, check_hello
from gpuledger_proto.v1 import telemetry_pb2 as wire

log = logging.getLogger(__name__)

HELLO_S = 30.0
"""A stream that does not introduce itself in this time is ended."""

GONE_S = 10.0
"""gRPC takes less to notice that an agent is gone that nothing can be said to."""

_BATCH_TAG = bytes([wire.AgentMessage.BATCH_FIELD_NUMBER << 3 | 2])
"""What a message begins with that is a batch."""


class _Ended(Exception):  # noqa: N818  # a decision, not an accident
    """The stream is to be ended for what it did."""


class Session:
    """Reads while there is room, and answers in a task of its own as verdicts come."""

    def __init__(
        self, admission: Admission, metrics: Metrics, access: Access, context: Context
    ) -> None:
        self._admission = admission
        self._lane = admission.join()
        self._metrics = metrics
        self._access = access
        self._context = context
        self._source = Source("", "", "")
        self._reading: asyncio.Task[None] | None = None
        self._all_read = False
        self._ending: tuple[grpc.StatusCode, str] | None = None
        self._unanswered = 0
        self._credit = 0
        self._credit_said = 0
        self._acks: list[int] = []
        self._refusals: list[wire.Refusal] = []
        self._unreadable = ""
        self._wake = asyncio.Event()

    async def run(self, messages: AsyncIterator[bytes]) -> None:
        """Serve the stream until nothing more is read and all is answered."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._reading = tasks.create_task(self._read(messages))
                if self._all_read:
                    self._reading.cancel()
                tasks.create_task(self._answer())
        except* _Ended:
            self._metrics.agents_refused.inc()
        finally:
            self._lane.leave()
        if self._ending:
            async with _cancelled_if_gone():
                await self._context.abort(*self._ending)

    def stop(self) -> None:
        """Read no more; what was read is still answered."""
        self._ending = (grpc.StatusCode.UNAVAILABLE, "this collector is stopping")
        self.renew()

    def renew(self) -> None:
        """Likewise, for the agent to connect again: anew it shows who it is, to any collector."""
        if self._reading is not None:
            self._reading.cancel()
        self._read_no_more()

    async def _read(self, messages: AsyncIterator[bytes]) -> None:
        try:
            self._access.check(self._context)
            async with asyncio.timeout(HELLO_S):
                first = await anext(messages)
        except StopAsyncIteration:
            self._read_no_more()  # it only asked whether it would be heard
            return
        except TimeoutError:
            self._end("no Hello", grpc.StatusCode.DEADLINE_EXCEEDED)
        except AccessRefused as refused:
            self._end(str(refused), refused.code)
        message = self._decoded(first)
        if message.WhichOneof("body") != "hello":
            self._end("the first message must be Hello")
        self._introduced(message.hello, first)
        self._credit = FIRST_CREDIT
        self._wake.set()
        await self._lane.room()
        async for body in messages:
            self._receive(body)
            await self._lane.room()
        # The agent has said all it had to say; it may still wait for answers.
        self._read_no_more()

    def _receive(self, body: bytes) -> None:
        if body.startswith(_BATCH_TAG):
            self._batch(body)
            return
        message = self._decoded(body)
        match message.WhichOneof("body"):
            case "hello":
                self._introduced(message.hello, body)
            case "batch":
                self._batch(body)
            case _:
                pass  # a newer agent may say more

    def _decoded(self, body: bytes) -> wire.AgentMessage:
        try:
            return wire.AgentMessage.FromString(body)
        except DecodeError as error:
            self._end(f"a message cannot be read: {error}")

    def _introduced(self, hello: wire.Hello, body: bytes) -> None:
        try:
            check_hello(hello)
            self._access.check_host(self._context, hello.host)
        except HelloRefused as refused:
            self._end(f"Hello: {refused}")
        except AccessRefused as refused:
            self._end(str(refused), refused.code)
        if self._source.host and hello.host != self._source.host:
            self._end("Hello: one stream is one host")
        self._source = Source(hello.cluster, hello.host, hello.host_pool)
        self._lane.put(Message(self._source, body, time.time()), lambda _: None)

    def _batch(self, body: bytes) -> None:
        self._unanswered += 1
        if self._unanswered > MAX_CREDIT:
            self._end(
                f"more than {MAX_CREDIT} batches are unanswered",
                grpc.StatusCode.RESOURCE_EXHAUSTED,
            )
        self._lane.put(Message(self._source, body, time.time()), self._judged)

    def _judged(self, verdict: Verdict) -> None:
        """Note what is to be answered; called once for each batch."""
        self._metrics.rows_acked.inc(verdict.rows)
        if verdict.unreadable:
            self._unreadable = verdict.reason
        elif verdict.reason:
            self._refuse(verdict)
        else:
            self._metrics.batches_acked.inc()
            self._acks.append(verdict.sequence)
        self._wake.set()

    def _refuse(self, verdict: Verdict) -> None:
        self._metrics.rows_refused.inc(verdict.refused)
        if not verdict.rows:
            self._metrics.batches_refused.inc()
        log.warning(
            "event=refused host=%r sequence=%d rows=%d reason=%r",
            *(self._source.host, verdict.sequence, verdict.refused, verdict.reason),
        )
        refusal = wire.Refusal(
            sequence=verdict.sequence,
            reason=verdict.reason,
            rows_refused=verdict.refused,
            whole_batch=not verdict.rows,
        )
        self._refusals.append(refusal)

    async def _answer(self) -> None:
        """Say what there is to say, until nothing more can come."""
        while self._unanswered or not self._all_read:
            await self._wake.wait()
            self._wake.clear()
            if self._unreadable:
                self._end(self._unreadable)
            async with _cancelled_if_gone():
                await self._say()

    async def _say(self) -> None:
        """Many acks make one message; a Welcome follows when the credit is another."""
        acks, self._acks = self._acks, []
        refusals, self._refusals = self._refusals, []
        if acks:
            await self._context.write(wire.CollectorMessage(ack=wire.Ack(sequences=acks)))
        for refusal in refusals:
            await self._context.write(wire.CollectorMessage(refusal=refusal))
        if answered := len(acks) + len(refusals):
            self._credit = next_credit(self._credit, self._unanswered, self._admission.fill)
            self._unanswered -= answered
        if self._credit != self._credit_said and not self._all_read:
            self._credit_said = self._credit
            await self._context.write(_welcome(self._credit))

    def _read_no_more(self) -> None:
        self._all_read = True
        self._wake.set()

    def _end(
        self, reason: str, code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT
    ) -> NoReturn:
        log.warning(
            "event=agent_refused peer=%r host=%r reason=%r",
            *(self._context.peer(), self._source.host, reason),
        )
        self._ending = (code, reason)
        raise _Ended


@asynccontextmanager
async def _cancelled_if_gone() -> AsyncIterator[None]:
    """Say something to an agent. If there is none any more, wait to be cancelled by gRPC for it."""
    try:
        yield
    except grpc.aio.InternalError:
        await asyncio.sleep(GONE_S)
        raise


def _welcome(credit: int) -> wire.CollectorMessage:
    return wire.CollectorMessage(
        welcome=wire.Welcome(
            collector_version=version("gpuledger"),
            max_in_flight=credit,
            max_batch_rows=MAX_ROWS,
            max_batch_bytes=MAX_BYTES,
        )
    )
