"""Peers, spools and books of versions to come: what is not known is passed over."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from clickhouse_connect.driver.client import Client

from gpuledger_agent.gaps import Gap, GapReason
from gpuledger_agent.spool import Spool
from gpuledger_collector.serve import CollectorThread
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.collector_fixture import batch, present_window
from tests.wire.byte_server import SERVICE, ByteServer
from tests.wire.record import deliver
from tests.wire.release import releases
from tests.wire.schema import NEW_VALUE, classes, with_news

NEWER = classes(with_news())


def newer(**body: Any) -> bytes:
    """A message of a newer agent."""
    return bytes(NEWER.agent(**body).SerializeToString())


def with_news_in(known: bytes) -> bytes:
    """A message of this version's agent, as a newer one would say it."""
    message = NEWER.agent.FromString(known)
    inner = getattr(message, message.WhichOneof("body"))
    _add_news(inner)
    return bytes(message.SerializeToString())


def _add_news(message: Any) -> None:
    message.new = "who knows"
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for inner in value if field.is_repeated else [value]:
                _add_news(inner)
        if field.enum_type is not None:
            value[-1] = NEW_VALUE


def test_collector_when_a_newer_agent_speaks_then_it_stores_what_it_knows(
    collector: CollectorThread, client: Client
) -> None:
    at = present_window()
    usage = batch(sequence=7, rows=2, start=at)
    usage.process_usage.context.extend([wire.CONTEXT_COMPUTE] * 2)
    hello = wire.Hello(host="h1", labels={"rack": "r7"}, gpus=[wire.Gpu(uuid="GPU-1")])
    said = [
        with_news_in(wire.AgentMessage(hello=hello).SerializeToString()),
        newer(new="a kind of message that nobody knows"),
        with_news_in(wire.AgentMessage(batch=usage).SerializeToString()),
        newer(batch={"sequence": 8, "new": "only tables to come"}),
    ]
    with grpc.insecure_channel(collector.address) as channel:
        call = channel.stream_stream(f"/{SERVICE}/Stream")(iter(said), timeout=60)
        answers = [wire.CollectorMessage.FromString(answer) for answer in call]
    assert sorted(n for answer in answers for n in answer.ack.sequences) == [7, 8]
    assert not any(answer.HasField("refusal") for answer in answers)
    rows = client.query("SELECT pid, context, sm_source FROM process_usage ORDER BY pid")
    assert rows.result_rows == [
        (100, "compute", "process"),
        (101, "unspecified", "unspecified"),
    ]
    assert client.query("SELECT host, labels FROM hosts").result_rows == [("h1", {"rack": "r7"})]


class NewerCollector(ByteServer):
    """Acknowledges everything, and never says anything without something new in it."""

    def __init__(self) -> None:
        super().__init__(self._stream)

    def _stream(self, messages: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        yield self._said(new="a kind of message that nobody knows")
        yield self._said(welcome={"max_in_flight": 2, "new": "who knows"})
        for body in messages:
            heard = wire.AgentMessage.FromString(body)
            yield self._said(new="again")
            if heard.HasField("batch"):
                yield self._said(ack={"sequences": [heard.batch.sequence], "new": "who knows"})

    def _said(self, **body: Any) -> bytes:
        return bytes(NEWER.collector(**body).SerializeToString())


def test_agent_when_a_newer_collector_speaks_then_it_goes_on_and_forgets_what_was_taken(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path / "spool.sqlite")
    spool.append([batch(rows=n) for n in range(1, 6)], 0)
    spool.close()
    with NewerCollector() as collector:
        deliver(tmp_path / "spool.sqlite", collector.address)
    assert not Path(tmp_path / "spool.sqlite.damaged").exists()


def test_spool_when_a_newer_agent_wrote_it_then_an_older_one_sends_what_is_in_it(
    tmp_path: Path, collector: CollectorThread, client: Client
) -> None:
    """The agent was rolled back: what waits has fields, and losses reasons, of the newer one."""
    path = tmp_path / "spool.sqlite"
    spool = Spool(path)
    at = present_window()
    told = wire.AgentMessage(batch=batch(rows=1, start=at))
    news = wire.AgentMessage.FromString(with_news_in(told.SerializeToString())).batch
    lost = wire.Batch(dictionary=[""])
    lost.telemetry_gaps.window_start.append(at - 60)
    lost.telemetry_gaps.gap_s.append(10)
    lost.telemetry_gaps.rows.append(3)
    lost.telemetry_gaps.reason.append(NEW_VALUE)  # type: ignore[arg-type]
    spool.append([news, lost], at + 10)
    spool.close()
    with sqlite3.connect(path) as db:
        db.execute(f"INSERT INTO gap VALUES ({at - 40}, {at - 20}, 5, {NEW_VALUE})")
    db.close()
    with_gaps = Spool(path)
    with_gaps.tell_gaps()
    with_gaps.close()
    deliver(path, collector.address)
    assert client.query("SELECT pid FROM process_usage").result_rows == [(100,)]
    found = client.query("SELECT gap_s, rows, reason FROM telemetry_gaps ORDER BY ts").result_rows
    assert found == [(10, 3, "unspecified"), (20, 5, "unspecified")]


def test_batch_of_losses_when_their_reason_is_of_a_newer_agent_then_it_can_be_given_up(
    tmp_path: Path,
) -> None:
    """With a full spool such a batch goes, and what it told is to be told again."""
    lost = wire.Batch(dictionary=[""])
    lost.telemetry_gaps.window_start.append(100)
    lost.telemetry_gaps.gap_s.append(10)
    lost.telemetry_gaps.rows.append(3)
    lost.telemetry_gaps.reason.append(NEW_VALUE)  # type: ignore[arg-type]
    spool = Spool(tmp_path / "spool.sqlite", max_bytes=1)
    spool.append([lost], 200)
    assert spool._losses.pending() == [Gap(100, 110, 3, GapReason.UNSPECIFIED)]
    spool.close()


def test_recordings_when_listed_then_there_is_one() -> None:
    """Else every test of them would pass by having nothing to look at."""
    assert releases()
