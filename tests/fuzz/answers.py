"""What a collector could say to an agent: none of it costs windows that it did not answer."""

from __future__ import annotations

from random import Random

from google.protobuf.message import DecodeError

from gpuledger_agent.spool import Spool
from gpuledger_agent.stream import StreamCounters, _Session
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.fuzz import bytes_of
from tests.fuzz.contract import Breach
from tests.fuzz.pieces import Field, joined, mutate, split
from tests.wire.release import releases

BATCHES = 4
STREAM = 12
"""Answers on one stream."""


class Answers:
    """Streams on which a collector answers with mutants."""

    def __init__(self) -> None:
        self._seeds = [answer for release in releases() for answer in release.answered]

    def execute(self, dice: Random) -> int:
        spool = Spool(None)
        spool.append([_batch() for _ in range(BATCHES)], 0)
        counters = StreamCounters()
        session = _Session(spool, wire.Hello, counters, lambda: False)
        said = session.outgoing()
        next(said)
        session.incoming(wire.CollectorMessage(welcome=wire.Welcome(max_in_flight=BATCHES)))
        sent = {next(said).batch.sequence for _ in range(BATCHES)}
        answered = self._answer(dice, session)
        left = {batch.sequence for batch in spool.after(0, 2 * BATCHES)}
        spool.close()
        if sent - left - answered:
            raise Breach("a batch is gone that was not answered")
        if (sent & answered) & left:
            raise Breach("a batch that was answered is sent again")
        if counters.rows_acked + counters.rows_refused > BATCHES:
            raise Breach("more rows answered than sent")
        return STREAM

    def _answer(self, dice: Random, session: _Session) -> set[int]:
        """Say mutants; return the sequences that were answered by them."""
        answered: set[int] = set()
        for _ in range(STREAM):
            try:
                message = wire.CollectorMessage.FromString(self._mutant(dice))
            except DecodeError:
                continue  # gRPC ends the stream for it
            session.incoming(message)
            answered.update(message.ack.sequences)
            if message.HasField("refusal"):
                answered.add(message.refusal.sequence)
        return answered

    def _mutant(self, dice: Random) -> bytes:
        if dice.random() < 0.3:
            return bytes_of.mutated(dice, self._seeds)
        [body] = split(dice.choice(self._seeds))
        about = wire.CollectorMessage.DESCRIPTOR.fields_by_number[body.number].message_type
        inner = mutate(dice, split(body.payload), about)
        return Field(body.number, body.wire_type, joined(inner)).serialized


def _batch() -> wire.Batch:
    made = wire.Batch(dictionary=[""])
    made.gpu_usage.window_start.append(0)
    return made
