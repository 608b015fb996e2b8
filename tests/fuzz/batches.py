"""Messages of agents into the collector: each is answered rightly, and what is stored may stand."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from google.protobuf.message import DecodeError

from gpuledger_collector.columns import Insert, Source
from gpuledger_collector.packing import Message, Packed, Verdict, pack
from gpuledger_collector.validate import row_count
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.collector_fixture import batch
from tests.fuzz import bytes_of
from tests.fuzz.contract import Breach, check
from tests.fuzz.pieces import Field, joined, mutate, split
from tests.test_traffic_wire import FULL
from tests.traffic_fixture import traffic
from tests.wire.host import START
from tests.wire.release import releases

GROUP = 16
"""Messages that are packed together, as the writer does."""

HOST = "gpu-node-17"
SPAN = (START - 86_400.0, START + 120.0)
LONGEST_REASON = 400

Store = Callable[[list[Insert]], None]


class Target(Protocol):
    """Something that reads what strangers wrote."""

    def execute(self, dice: Random) -> int:
        """Feed it mutants; return how many. Raises whatever it should not have raised."""


def seeds() -> list[bytes]:
    """What agents really say: as recorded, and a batch of several rows of everything."""
    said = [message for release in releases() for message in release.said]
    made = [
        batch(2, rows=5, start=START),
        traffic(FULL, FULL | {"ttft_layout": 0, "ttft_counts": []}, start=START),
    ]
    return said + [wire.AgentMessage(batch=each).SerializeToString() for each in made]


class Batches:
    """What becomes of groups of mutants. Some groups are stored as well, by `store`.

    `outcomes` counts what mutants were: stored, partly, refused, unreadable.
    """

    def __init__(self, store: Store | None = None, store_every: int = 1) -> None:
        self._seeds = seeds()
        self._split = [[(one, split(one.payload)) for one in split(each)] for each in self._seeds]
        self._good = wire.AgentMessage(batch=batch(99, rows=2, start=START)).SerializeToString()
        self._store = store
        self._store_every = store_every
        self._groups = 0
        self.outcomes = dict.fromkeys(("stored", "partly", "refused", "unreadable"), 0)

    def execute(self, dice: Random) -> int:
        bodies = [self._mutant(dice) for _ in range(GROUP - 1)]
        bodies.insert(int(dice.random() * GROUP), self._good)
        judge(bodies, packed := self._packed(bodies))
        for verdict in packed.verdicts:
            self.outcomes[_outcome(verdict)] += 1
        self._groups += 1
        if self._store and self._groups % self._store_every == 0:
            self._store(packed.inserts)
        return GROUP

    def _packed(self, bodies: list[bytes]) -> Packed:
        source = Source("fra1", HOST, "production")
        return pack([Message(source, body, START + 60.0) for body in bodies], SPAN)

    def _mutant(self, dice: Random) -> bytes:
        if dice.random() < 0.15:
            return bytes_of.mutated(dice, self._seeds)
        # A message has a body, which is what there is to change.
        fields = []
        for body, inner in dice.choice(self._split):
            about = wire.AgentMessage.DESCRIPTOR.fields_by_number[body.number].message_type
            changed = inner
            while True:
                changed = mutate(dice, changed, about)
                if dice.random() < 0.6:
                    break
            fields.append(Field(body.number, body.wire_type, joined(changed)))
        return joined(fields)


def _outcome(verdict: Verdict) -> str:
    if verdict.unreadable:
        return "unreadable"
    if not verdict.reason:
        return "stored"
    return "partly" if verdict.rows else "refused"


def judge(bodies: list[bytes], packed: Packed) -> None:
    """Raise Breach unless every message got what it deserves, and the books what may stand."""
    if len(packed.verdicts) != len(bodies):
        raise Breach("a message without a verdict")
    for body, verdict in zip(bodies, packed.verdicts, strict=True):
        _judge_one(body, verdict)
    for insert in packed.inserts:
        check(insert, SPAN)
    told = sum(verdict.rows for verdict in packed.verdicts)
    rows = sum(i.rows for i in packed.inserts if i.table not in {"hosts_raw", "gpus_raw"})
    if told != rows:
        raise Breach(f"{rows} rows are stored and {told} told")


def _judge_one(body: bytes, verdict: Verdict) -> None:
    reason = verdict.reason
    if "\n" in reason or len(reason) > LONGEST_REASON:
        raise Breach(f"the reason {reason!r}")
    try:
        message = wire.AgentMessage.FromString(body)
    except DecodeError:
        if not verdict.unreadable:
            raise Breach("a message that cannot be read passed") from None
        return
    if message.WhichOneof("body") == "hello" or verdict.unreadable:
        if verdict.rows or verdict.refused or bool(reason) != verdict.unreadable:
            raise Breach("a Hello with rows, or unreadable without a reason")
        return
    if verdict.rows + verdict.refused != row_count(message.batch):
        raise Breach("rows that nobody tells of")
    if verdict.refused and not reason:
        raise Breach("rows refused without a reason")
    if verdict.sequence != message.batch.sequence:
        raise Breach("the answer is to another batch")
