"""Messages as they were received into the inserts of one write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from google.protobuf.message import DecodeError

from gpuledger_collector import inventory
from gpuledger_collector.columns import Insert, Inserts, Source
from gpuledger_collector.validate import (
    BatchRefused,
    HelloRefused,
    Span,
    check_hello,
    read_batch,
    row_count,
)
from gpuledger_proto.v1 import telemetry_pb2 as wire

MAX_ROWS = 100_000
"""Rows of one write, give or take its last message."""


@dataclass(frozen=True, slots=True)
class Message:
    """A serialized AgentMessage, for whom it speaks, and when it came: seconds since the epoch."""

    source: Source
    body: bytes
    received_at: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a message: rows that are stored and rows that never can be, with the reason.

    `unreadable`: it is no message at all, so it has no sequence and nobody can answer it.
    """

    sequence: int = 0
    rows: int = 0
    refused: int = 0
    reason: str = ""
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Packed:
    """Inserts in the order in which to make them, and a verdict on each message in them."""

    inserts: list[Insert]
    verdicts: list[Verdict]


class _Packer:
    """One write while it grows."""

    def __init__(self) -> None:
        self._rows = Inserts()
        self._hellos: list[tuple[wire.Hello, float]] = []
        self._gpus = 0
        self._verdicts: list[Verdict] = []

    @property
    def full(self) -> bool:
        return self._rows.count + self._gpus >= MAX_ROWS

    def add(self, message: Message) -> None:
        try:
            parsed = wire.AgentMessage.FromString(message.body)
            if parsed.WhichOneof("body") == "hello":
                verdict = self._hello(message, parsed.hello)
            else:
                verdict = self._batch(message, parsed.batch)
        except (DecodeError, HelloRefused) as error:
            verdict = Verdict(reason=f"a message cannot be read: {error}", unreadable=True)
        except BatchRefused as refused:
            verdict = Verdict(parsed.batch.sequence, 0, row_count(parsed.batch), str(refused))
        self._verdicts.append(verdict)

    def _hello(self, message: Message, hello: wire.Hello) -> Verdict:
        # It may have come in disguise: a batch, and then this, in one message.
        check_hello(hello)
        if hello.host != message.source.host:
            raise HelloRefused("one stream is one host")
        self._hellos.append((hello, message.received_at))
        self._gpus += len(hello.gpus)
        return Verdict()

    def _batch(self, message: Message, batch: wire.Batch) -> Verdict:
        read = read_batch(batch)
        self._rows.add(message.source, read, len(self._verdicts))
        return Verdict(batch.sequence, read.count)

    def packed(self, span: Span) -> Packed:
        inserts, refused = self._rows.finished(span)
        for number, found in refused.items():
            was = self._verdicts[number]
            self._verdicts[number] = replace(
                was, rows=was.rows - found.rows, refused=found.rows, reason=found.reason
            )
        return Packed([*inventory.inserts(self._hellos), *inserts], self._verdicts)


def pack(messages: Sequence[Message], span: Span) -> Packed:
    """As many of the first messages as make one write."""
    packer = _Packer()
    for message in messages:
        if packer.full:
            break
        packer.add(message)
    return packer.packed(span)


def refusal(message: Message, reason: str) -> Verdict:
    """The verdict on a message that could not be written, whatever it is."""
    batch = wire.AgentMessage.FromString(message.body).batch
    return Verdict(batch.sequence, 0, row_count(batch), reason)
