"""Batches of many agents in one write: each fares as if it were alone."""

from __future__ import annotations

from collections import Counter

import grpc
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_collector import packing, writer
from gpuledger_collector.columns import Source
from gpuledger_collector.packing import Message, Packed, pack
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.store.client import StoreConfig
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.collector_fixture import WireAgent, batch, present_window, settings_for

NOW = 1_800_057_600.0
"""Midnight UTC."""

DAY = 86_400

SPAN = (NOW - 13 * DAY, NOW)
"""As long as windows count by default."""


def message(made: wire.Batch, host: str = "h1") -> Message:
    body = wire.AgentMessage(batch=made).SerializeToString()
    return Message(Source("c1", host, "prod"), body, NOW)


def rows(packed: Packed) -> Counter[tuple[object, ...]]:
    """All rows of all inserts, with their table."""
    return Counter(
        (insert.table, *row)
        for insert in packed.inserts
        for row in zip(*insert.columns, strict=True)
    )


@st.composite
def messages(draw: st.DrawFn) -> list[Message]:
    """Batches of several hosts and days, some of them wrong in a row, some in their structure."""
    made = []
    for number in range(draw(st.integers(1, 6))):
        start = int(NOW) - draw(st.sampled_from([10, 20, DAY, 20 * DAY]))
        one = batch(number, rows=draw(st.integers(0, 5)), start=start)
        usage = one.process_usage
        for row in draw(st.lists(st.integers(0, 4), max_size=2)):
            if row < len(usage.pid):
                wrong = draw(st.sampled_from(["held_ms", "sm_busy_ms", "window_s", "team"]))
                getattr(usage, wrong)[row] = draw(st.sampled_from([3, 9_999, 60_001]))
        if draw(st.integers(0, 9)) == 0 and usage.pid:
            usage.pid.pop()
        made.append(message(one, draw(st.sampled_from(["h1", "h2"]))))
    return made


@settings(max_examples=300)
@given(messages())
def test_batches_when_packed_together_then_each_fares_as_if_alone(sent: list[Message]) -> None:
    together = pack(sent, SPAN)
    alone = [pack([one], SPAN) for one in sent]
    assert together.verdicts == [packed.verdicts[0] for packed in alone]
    assert rows(together) == sum(map(rows, alone), Counter())
    for insert in together.inserts:
        days = {ts // DAY for ts in insert.columns[insert.names.index("ts")]}
        assert len(days) == 1, "an insert into two partitions is not atomic"


def test_write_when_it_has_enough_rows_then_it_leaves_the_other_batches() -> None:
    sent = [message(batch(number, rows=20_000 - 1, start=int(NOW) - 10)) for number in range(8)]
    packed = pack(sent, SPAN)
    assert len(packed.verdicts) == packing.MAX_ROWS // 20_000
    assert sum(insert.rows for insert in packed.inserts) == packing.MAX_ROWS


def test_message_when_it_cannot_be_packed_then_only_it_is_refused(
    database: StoreConfig, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours that one agent's batches bring out must not stop the others."""

    def faulty(messages: list[Message], span: tuple[float, float]) -> Packed:
        if any(each.source.host == "poison" for each in messages):
            raise ZeroDivisionError("a fault\nof ours")
        return pack(messages, span)

    monkeypatch.setattr(writer, "pack", faulty)
    with (
        CollectorThread(settings_for(database)) as collector,
        WireAgent(collector.address, "poison") as poison,
        WireAgent(collector.address, "good") as good,
    ):
        for number in range(5):
            good.send(batch(number))
        poison.send(batch(7))
        refusal = poison.refusal()
        assert good.acks(5) == list(range(5))
    assert (refusal.sequence, refusal.whole_batch, refusal.rows_refused) == (7, True, 5)
    assert refusal.reason == "it cannot be written: a fault of ours"
    assert client.query("SELECT DISTINCT host FROM process_usage").result_rows == [("good",)]


@pytest.mark.parametrize(
    ("hidden", "said"),
    [
        (wire.AgentMessage(hello=wire.Hello(host="other")).SerializeToString(), "one host"),
        (wire.AgentMessage(hello=wire.Hello(host="h1", cluster="x" * 300)).SerializeToString(),
         "longer than"),
        (b"\xff\xff", "cannot be read"),
    ],
)  # fmt: skip
def test_message_when_something_else_hides_behind_a_batch_then_the_stream_ends(
    collector: CollectorThread, client: Client, hidden: bytes, said: str
) -> None:
    body = wire.AgentMessage(batch=batch(1)).SerializeToString() + hidden
    first = wire.AgentMessage(hello=wire.Hello(host="h1")).SerializeToString()
    with grpc.insecure_channel(collector.address) as channel:
        stream = channel.stream_stream("/gpuledger.v1.Telemetry/Stream")
        call = stream(iter([first, body]), timeout=30)
        with pytest.raises(grpc.RpcError) as ended:
            list(call)
    assert ended.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in ended.value.details()
    with WireAgent(collector.address, "h2") as agent:
        agent.send(batch(2, start=present_window() - 10))
        assert agent.acks(1) == [2]
    hosts = client.query("SELECT host, cluster FROM hosts ORDER BY host").result_rows
    assert hosts == [("h1", ""), ("h2", "")]
