"""Recorded agents are understood for ever, and fuzzed ones do no harm."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_collector.columns import Source
from gpuledger_collector.packing import Message, Packed, pack
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.tables import TABLES
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.collector_fixture import WireAgent, batch
from tests.wire.record import START, load, messages

RECORDINGS = sorted(Path(__file__).parent.glob("wire/*.bin"))


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_recording_when_checked_then_every_row_is_understood(recording: Path) -> None:
    hello, batch = load(recording)
    packed = packed_alone(hello, START + 60), packed_alone(batch, START + 60)
    assert [p.verdicts[0].reason for p in packed] == ["", ""]
    rows = {insert.table: insert.rows for each in packed for insert in each.inserts}
    assert rows == {
        "hosts_raw": 1,
        "gpus_raw": 1,
        "process_usage_raw": 2,
        "gpu_usage_raw": 1,
        "agent_health_raw": 1,
    }


def packed_alone(message: wire.AgentMessage, now: float) -> Packed:
    source = Source("", message.hello.host or "h", "")
    return pack([Message(source, message.SerializeToString(), now)], (0.0, now))


def test_recording_when_streamed_then_its_rows_are_in_the_books(
    collector: CollectorThread, client: Client
) -> None:
    """The recorded window is moved to the present; nothing else is touched."""
    hello, sent = load(RECORDINGS[0])
    now = int(time.time()) // 10 * 10 - 10
    for table in TABLES:
        column = getattr(sent.batch, table.name).window_start
        column[:] = [now] * len(column)
    with WireAgent(collector.address, hello.hello.host) as agent:
        agent.say(hello)
        agent.say(sent)
        assert agent.acks(1) == [1]
    rows = client.query(
        "SELECT cluster, host, host_pool, pid, team, endpoint, held_ms, sm_busy_ms, mem_mib_max,"
        " context, workload FROM process_usage ORDER BY pid"
    ).result_rows
    assert rows == [
        ("fra1", "gpu-node-17", "production", 4242, "search", "rank", 7000, 4000, 40960,
         "compute", "python3[4242]"),
        ("fra1", "gpu-node-17", "production", 4711, "", "", 2000, 0, None,
         "graphics", "Xorg[4711]"),
    ]  # fmt: skip
    gpu = client.query("SELECT gpu_index, power_w_max, tensor_pct_mean FROM gpu_usage").result_rows
    assert gpu == [(3, 401, None)]


def test_agent_when_it_speaks_today_then_older_collectors_saw_the_same_bytes() -> None:
    """What is recorded as this version must stay what this version says."""
    assert load(RECORDINGS[-1]) == messages()


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
