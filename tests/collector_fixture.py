"""A real collector on a real database, and an agent's end of the wire to speak to it."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import pytest

from gpuledger_agent.dial import Dialer, Trust
from gpuledger_collector.serve import CollectorSettings, CollectorThread
from gpuledger_collector.store.client import StoreConfig
from gpuledger_proto.v1 import telemetry_pb2 as wire
from gpuledger_proto.v1.telemetry_pb2_grpc import TelemetryStub

ANSWER_S = 30.0


@pytest.fixture
def collector(database: StoreConfig) -> Iterator[CollectorThread]:
    """A collector that writes to `database`."""
    with CollectorThread(settings_for(database)) as running:
        yield running


def settings_for(store: StoreConfig) -> CollectorSettings:
    """Settings of a collector on any free port that does not wait for more batches."""
    return CollectorSettings(listen="127.0.0.1:0", metrics="", store=store, max_wait_s=0.01)


def metric(collector: CollectorThread, name: str) -> float:
    """A figure of this collector's own state."""
    assert collector._collector is not None
    registry = collector._collector._metrics.registry
    value = registry.get_sample_value(f"gpuledger_collector_{name}")
    assert value is not None, f"there is no metric {name}"
    return value


class WireAgent:
    """One stream, spoken by hand."""

    def __init__(
        self, address: str, host: str = "h1", dialer: Dialer | None = None, **hello: object
    ) -> None:
        dialer = dialer or Dialer(Trust())
        self._channel = dialer.channel(address)
        self._outgoing: queue.SimpleQueue[wire.AgentMessage | None] = queue.SimpleQueue()
        self._answers: Iterator[wire.CollectorMessage] = TelemetryStub(self._channel).Stream(
            iter(self._outgoing.get, None), timeout=60, metadata=dialer.metadata()
        )
        self.say(wire.AgentMessage(hello=wire.Hello(host=host, host_pool="prod", **hello)))  # type: ignore[arg-type]

    def say(self, message: wire.AgentMessage) -> None:
        self._outgoing.put(message)

    def send(self, batch: wire.Batch) -> None:
        self.say(wire.AgentMessage(batch=batch))

    def hear(self) -> wire.CollectorMessage:
        """The next answer. Raises grpc.RpcError if the collector ended the stream."""
        return next(self._answers)

    def acks(self, count: int) -> list[int]:
        """Sequences of the next acks, `count` of them."""
        heard: list[int] = []
        while len(heard) < count:
            message = self.hear()
            assert message.WhichOneof("body") in {"ack", "welcome"}, message
            heard += message.ack.sequences
        return sorted(heard)

    def refusal(self) -> wire.Refusal:
        """The next refusal."""
        while (message := self.hear()).WhichOneof("body") != "refusal":
            pass
        return message.refusal

    def close(self) -> None:
        self._outgoing.put(None)
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def present_window(seconds: int = 10) -> int:
    """Start of a window that ended a moment ago, on the same day as the one before it."""
    now = int(time.time())
    return now // seconds * seconds - seconds


def batch(sequence: int = 1, rows: int = 4, start: int | None = None) -> wire.Batch:
    """A batch of one GPU with so many equal processes in one window."""
    at = present_window() if start is None else start
    made = wire.Batch(sequence=sequence, dictionary=["", "GPU-1", "H100", "search", "ranker"])
    share = 10_000 // max(rows, 1)
    gpu, process = made.gpu_usage, made.process_usage
    gpu.window_start.append(at)
    gpu.window_s.append(10)
    gpu.gpu.append(1)
    gpu.gpu_model.append(2)
    gpu.observed_ms.append(10_000)
    gpu.unallocated_ms.append(10_000 - share * rows)
    for pid in range(rows):
        process.window_start.append(at)
        process.window_s.append(10)
        process.gpu.append(1)
        process.gpu_model.append(2)
        process.pid.append(100 + pid)
        process.team.append(3)
        process.model.append(4)
        process.present_ms.append(10_000)
        process.held_ms.append(share)
        process.sm_busy_ms.append(share // 2)
        process.sm_source.append(wire.SM_SOURCE_PROCESS)
    return made
