"""Agents that come back after an outage, each with its backlog: what `bench.reconnect` sends.

Every agent is a connection and a stream of its own. All of them hold the same windows, made and
encoded as the agent does it, under names of their own; so the herd costs its machine little more
than what it sends.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import grpc

from gpuledger_agent.devices.base import Context, GpuInfo, SmSource
from gpuledger_agent.encode import OwnedGpu, OwnedProcess, batches, row_count
from gpuledger_agent.records import GpuUse, HealthRow, Owner, ProcessKey, ProcessUse, Window
from gpuledger_proto.v1 import telemetry_pb2 as wire

METHOD = "/gpuledger.v1.Telemetry/Stream"
GPUS, PROCESSES, WINDOW_S = 8, 2, 10

LIVE = "live"
"""Host name of the agent that has no backlog."""

_OPTIONS = (("grpc.use_local_subchannel_pool", 1),)  # a connection each, as hosts have


@dataclass(frozen=True, slots=True)
class Message:
    """A batch as it travels."""

    sequence: int
    rows: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Herd:
    """What one process of agents found: seconds, from the start of the herd, and rows acked.

    `done` holds when each agent had its last ack, `latencies` how long each window of the live
    agent waited for its own.
    """

    rows: int = 0
    done: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)


def backlog(windows: int, until: int) -> list[Message]:
    """So many windows of one host that end at `until`, a batch a window, oldest first."""
    starts = range(until - windows * WINDOW_S, until, WINDOW_S)
    return [_message(number, start) for number, start in enumerate(starts, 1)]


def _message(sequence: int, start: int) -> Message:
    window = Window(start, WINDOW_S)
    [batch] = batches([_gpu(window, index) for index in range(GPUS)], [_health(window)])
    batch.sequence = sequence
    body = wire.AgentMessage(batch=batch).SerializeToString()
    return Message(sequence, row_count(batch), body)


def _gpu(window: Window, index: int) -> OwnedGpu:
    gpu = GpuInfo(f"GPU-5a1f0c9e-4b7d-11ee-be56-0242ac12000{index}", index, "NVIDIA H100", 81_559)
    owner = Owner("search", "ranker-v7", "rank", "online", "production", "docker")
    processes = []
    for number in range(PROCESSES):
        busy = (window.start // WINDOW_S * 37 + 11 * index + number) % 4_000
        pid = 40_000 + index * PROCESSES + number
        use = ProcessUse(
            ProcessKey(pid, window.start // 86_400 * 86_400 - 5_000),
            Context.COMPUTE,
            10_000,
            5_000,
            busy,
            busy // 40,
            SmSource.PROCESS,
            30_000 + busy,
            30_500 + busy,
        )
        name = f"ranker-{index}-{number}"
        processes.append(OwnedProcess(use, "python3", "serving", owner, "container", name))
    busy = sum(process.use.sm_busy_ms for process in processes)
    use = GpuUse(
        *(window, gpu, 10_000, 10_000, busy, busy // 100, SmSource.DEVICE),
        *(70_000, 70_100, 412, 540, 61, 1_755, 31, 22, 0, 0, tuple(p.use for p in processes)),
    )
    return OwnedGpu(use, tuple(processes))


def _health(window: Window) -> HealthRow:
    return HealthRow(window, 80, 0, 12, 8, 0, 16, 0, 100, 300_000, 0, 0, 90, 44, 0, "0.1.0")


def hello(host: str) -> bytes:
    """How a host of this herd introduces itself."""
    gpus = [
        wire.Gpu(uuid=gpu.use.gpu.uuid, index=index, model="NVIDIA H100", memory_mib=81_559)
        for index, gpu in enumerate(_gpu(Window(0, WINDOW_S), i) for i in range(GPUS))
    ]
    introduced = wire.Hello(host=host, host_pool="production", driver_version="570.1", gpus=gpus)
    return wire.AgentMessage(hello=introduced).SerializeToString()


class Stream:
    """One stream, as an agent keeps it: never more unanswered than the latest Welcome says."""

    def __init__(self, address: str, host: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._call = self._channel.stream_stream(METHOD)()
        self._host = host
        self._credit = 0
        self.unanswered: dict[int, int] = {}
        """Rows by sequence."""

    async def introduce(self) -> None:
        """Say Hello and hear Welcome."""
        await self._call.write(hello(self._host))
        while not self._credit:
            await self.hear()

    async def send(self, messages: Iterator[Message]) -> None:
        """Send as many as may be sent now."""
        while len(self.unanswered) < self._credit and (message := next(messages, None)):
            self.unanswered[message.sequence] = message.rows
            await self._call.write(message.body)

    async def hear(self) -> int:
        """Hear an answer; how many rows are acked by it."""
        heard = await self._call.read()
        if heard is grpc.aio.EOF:
            raise RuntimeError(f"{self._host}: the collector ended the stream")
        answer = wire.CollectorMessage.FromString(heard)
        if answer.WhichOneof("body") == "refusal":
            raise RuntimeError(f"{self._host}: {answer.refusal.reason}")
        self._credit = answer.welcome.max_in_flight or self._credit
        return sum(self.unanswered.pop(sequence) for sequence in answer.ack.sequences)

    async def close(self) -> None:
        """Leave, and let the collector say the last word."""
        if not self._call.done():
            await self._call.done_writing()
            while await self._call.read() is not grpc.aio.EOF:
                pass
        await self._channel.close()


async def drained(stream: Stream, messages: list[Message], herd: Herd, began: float) -> int:
    """One agent of the herd: connect, send the whole backlog; rows acked."""
    await stream.introduce()
    left, rows = iter(messages), 0
    await stream.send(left)
    while stream.unanswered:
        rows += await stream.hear()
        await stream.send(left)
    herd.done.append(time.monotonic() - began)
    return rows


async def live(stream: Stream, windows: Iterator[Message], herd: Herd) -> None:
    """An agent without a backlog that closes a window a second, until cancelled."""
    await stream.introduce()
    for message in windows:
        sent = time.monotonic()
        await stream.send(iter([message]))
        while stream.unanswered:
            await stream.hear()
        herd.latencies.append(time.monotonic() - sent)
        await asyncio.sleep(max(sent + 1.0 - time.monotonic(), 0))


async def _all(address: str, agents: int, messages: list[Message]) -> Herd:
    herd = Herd()
    streams = [Stream(address, f"host-{number:05d}") for number in range(agents)]
    beside = Stream(address, LIVE)
    watch = asyncio.create_task(live(beside, itertools.cycle(messages), herd))
    began = time.monotonic()
    rows = await asyncio.gather(*(drained(s, messages, herd, began) for s in streams))
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    # All stay connected until the last is drained, as hosts would.
    await asyncio.gather(*(stream.close() for stream in [*streams, beside]))
    return Herd(sum(rows), herd.done, herd.latencies)


def stampede(address: str, agents: int, messages: list[Message], pipe: Connection) -> None:
    """Be the process of the agents: let all connect at once, and send what came of it."""
    pipe.send(asyncio.run(_all(address, agents, messages)))
    pipe.close()
