"""Any course of events in the spool, against a plain list."""

from __future__ import annotations

import sqlite3
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_agent.clock import STALL_S
from gpuledger_agent.spool import Spool
from gpuledger_agent.spool_state import SpoolState
from gpuledger_proto.v1 import telemetry_pb2 as wire

MAX_BYTES = 600
ANY_AGE = 1 << 40


@dataclass
class Model:
    """What a spool of MAX_BYTES is: batches as (sequence, rows, body), oldest first."""

    batches: list[tuple[int, int, bytes]] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    appended: int = 0
    dropped: int = 0
    until: int = 0

    def append(self, added: list[wire.Batch], until: int) -> None:
        for batch in added:
            self.appended += 1
            rows = len(batch.gpu_usage.window_start)
            self.batches.append((self.appended, rows, batch.SerializeToString()))
        set_back = 0 < until < self.until - STALL_S
        self.until = until if set_back else max(self.until, until)
        while sum(len(body) for _, _, body in self.batches) > MAX_BYTES:
            self.dropped += self.batches.pop(0)[1]

    def remove(self, sequences: list[int]) -> list[int]:
        """Take these out of the queue; return those that were in it."""
        gone = [number for number, _, _ in self.batches if number in sequences]
        self.batches = [one for one in self.batches if one[0] not in sequences]
        return gone

    @property
    def state(self) -> SpoolState:
        return SpoolState(len(self.batches), sum(len(b) for _, _, b in self.batches), self.dropped)


def made(rows: int, bulk: int) -> wire.Batch:
    batch = wire.Batch(dictionary=["", "x" * bulk])
    batch.gpu_usage.window_start.extend(range(rows))
    return batch


appends = st.tuples(
    st.just("append"),
    st.lists(st.builds(made, st.integers(0, 9), st.integers(0, 250)), max_size=4),
    st.integers(0, 2_000_000_000),
)
sequences = st.lists(st.integers(1, 20), max_size=6)
forgets = st.tuples(st.just("forget"), sequences)
refusals = st.tuples(st.just("set_aside"), st.integers(1, 20), st.text(max_size=20))
reopenings = st.tuples(st.just("reopen"))
readings = st.tuples(st.just("after"), st.integers(0, 20), st.integers(0, 5))
events = st.lists(st.one_of(appends, appends, forgets, refusals, reopenings, readings), max_size=25)


@settings(deadline=None)
@given(events)
def test_spool_whatever_happens_then_it_is_a_bounded_list(course: list[tuple]) -> None:  # type: ignore[type-arg]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "spool.sqlite"
        model, spool = Model(), Spool(path, MAX_BYTES, ANY_AGE)
        for event in course:
            spool = happen(event, model, spool, path)
            assert [(b.sequence, b) for b in spool.after(0, 100)] == [
                (number, read(number, body)) for number, _, body in model.batches
            ]
            assert spool.state() == model.state
            assert spool.written_until() == model.until
        spool.close()
        assert set_aside(path) == model.refused


def happen(event: tuple, model: Model, spool: Spool, path: Path) -> Spool:  # type: ignore[type-arg]
    """Do it to both; return the spool, which may be a reopened one."""
    match event:
        case ("append", added, until):
            spool.append(added, until)
            model.append(added, until)
            assert not added or spool.newest == model.appended
        case ("forget", numbers):
            spool.forget(numbers)
            model.remove(numbers)
        case ("set_aside", number, reason):
            spool.set_aside(number, reason)
            for gone in model.remove([number]):
                model.refused[gone] = reason
        case ("after", number, limit):
            expected = [n for n, _, _ in model.batches if n > number][:limit]
            assert [batch.sequence for batch in spool.after(number, limit)] == expected
        case ("reopen",):
            spool.close()
            model.dropped = 0
            return Spool(path, MAX_BYTES, ANY_AGE)
    return spool


def read(sequence: int, body: bytes) -> wire.Batch:
    batch = wire.Batch.FromString(body)
    batch.sequence = sequence
    return batch


def set_aside(path: Path) -> dict[int, str]:
    with sqlite3.connect(path) as db:
        found = db.execute("SELECT sequence, reason FROM refused").fetchall()
    db.close()
    return dict(found)
