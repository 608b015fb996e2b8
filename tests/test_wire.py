"""Batches that no agent would send do no harm to others."""

from __future__ import annotations

import random
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_collector.columns import Source
from gpuledger_collector.packing import Message, Packed, pack
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.collector_fixture import batch


def packed_alone(message: wire.AgentMessage, now: float) -> Packed:
    source = Source("", message.hello.host or "h", "")
    return pack([Message(source, message.SerializeToString(), now)], (0.0, now))


NUMBERS = st.one_of(st.integers(0, 200), st.integers(0, 2**32 - 1))


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32), value=NUMBERS, cut=st.integers(0, 5))
def test_batch_when_any_column_is_changed_then_only_consistent_rows_pass(
    seed: int, value: int, cut: int
) -> None:
    dice = random.Random(seed)
    made = batch(rows=5)
    table = dice.choice([made.process_usage, made.gpu_usage])
    name = dice.choice([field.name for field in table.DESCRIPTOR.fields])
    column = getattr(table, name)
    if column and dice.random() < 0.8:
        column[dice.randrange(len(column))] = min(value, 2**31 - 1)
    else:
        column[:] = [1] * cut
    packed = packed_alone(wire.AgentMessage(batch=made), time.time())
    assert "\n" not in packed.verdicts[0].reason
    assert sum(insert.rows for insert in packed.inserts) == packed.verdicts[0].rows
    for insert in packed.inserts:
        columns = dict(zip(insert.names, insert.columns, strict=True))
        assert {len(column) for column in columns.values()} == {insert.rows}
        if insert.table == "process_usage_raw":
            for busy, held in zip(columns["sm_busy_ms"], columns["held_ms"], strict=True):
                assert busy <= held <= 60_000


@settings(max_examples=200)
@given(raw=st.binary(max_size=400), seed=st.integers(0, 2**32))
def test_bytes_when_they_are_no_message_then_only_they_are_refused(raw: bytes, seed: int) -> None:
    """Among others, and with a recorded message's tag before them so that some of them parse."""
    source, now = Source("", "h", ""), time.time()
    good = wire.AgentMessage(batch=batch(7)).SerializeToString()
    bodies = [good, raw, b"\x12" + bytes([len(raw) % 128]) + raw, good]
    random.Random(seed).shuffle(bodies)
    packed = pack([Message(source, body, now) for body in bodies], (0.0, now))
    verdicts = packed.verdicts
    assert [v.sequence for v, body in zip(verdicts, bodies, strict=True) if body is good] == [7, 7]
    assert [v.rows for v, body in zip(verdicts, bodies, strict=True) if body is good] == [5, 5]
    usage = [insert.rows for insert in packed.inserts if insert.table == "process_usage_raw"]
    assert usage == [8]


def test_gap_when_it_goes_beyond_its_day_then_it_alone_is_refused() -> None:
    """A view makes hours of gaps: one of a century would be the trouble of all who read it."""
    noon = 1_735_732_800
    made = wire.Batch(sequence=1, dictionary=[""])
    made.telemetry_gaps.window_start.extend([noon, noon, noon])
    made.telemetry_gaps.gap_s.extend([43_200, 43_201, 2**32 - 1])
    made.telemetry_gaps.rows.extend([1, 1, 1])
    packed = packed_alone(wire.AgentMessage(batch=made), noon + 60)
    [verdict] = packed.verdicts
    assert (verdict.rows, verdict.refused) == (1, 2)
    assert verdict.reason == "telemetry_gaps row 1: gap_s goes beyond its UTC day"
