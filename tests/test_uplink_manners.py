"""The uplink with collectors that are newer, hostile, hasty or gone."""

from __future__ import annotations

import random
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gpuledger_agent import stream
from gpuledger_agent.spool import Spool
from gpuledger_agent.stream import Uplink
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.scripted_collector import ScriptedCollector, Session
from tests.uplink_fixture import ROWS, Start, fill, free_port, uplink_to, waiting
from tests.waiting import wait_until

NEWER = wire.CollectorMessage.FromString(b"\xa2\x06\x03new")
"""A message of a kind (field 100) that this agent has never heard of."""

HOSTILE = "no\nlevel=info event=forged \x1b[2J\u2028\u202e" + "x" * 1000


def test_inventory_when_it_changes_then_hello_is_said_again_on_the_same_stream(
    scripted: ScriptedCollector, spool: Spool
) -> None:
    gpus = [wire.Gpu(uuid="GPU-1")]
    with uplink_to(spool, scripted.address, hello=lambda: wire.Hello(gpus=gpus)) as uplink:
        session = scripted.session()
        assert [gpu.uuid for gpu in session.hello().gpus] == ["GPU-1"]
        session.say(welcome=wire.Welcome(max_in_flight=4))
        gpus.append(wire.Gpu(uuid="GPU-2"))
        uplink.reintroduce()
        assert [gpu.uuid for gpu in session.hello().gpus] == ["GPU-1", "GPU-2"]
        fill(spool, 1)
        assert session.batch() == 1


def test_inventory_when_it_changes_before_there_is_a_stream_then_nothing_breaks(
    spool: Spool,
) -> None:
    Uplink(["nowhere:1"], spool, wire.Hello).reintroduce()


def test_message_when_of_an_unknown_kind_then_it_is_ignored(
    scripted: ScriptedCollector, spool: Spool, start: Start
) -> None:
    fill(spool, 1)
    uplink = start(scripted.address)
    session = scripted.session()
    session.answers.put(NEWER)
    session.welcome()
    session.answers.put(NEWER)
    session.answers.put(wire.CollectorMessage())
    session.ack(session.batch())
    wait_until(lambda: not waiting(spool))
    assert uplink.counters.connects == 1


@pytest.mark.parametrize("sequence", [3, 4, 77, (1 << 63) + 1, (1 << 64) - 1])
def test_answer_when_to_what_was_never_sent_then_nothing_is_lost_for_it(
    scripted: ScriptedCollector, spool: Spool, start: Start, sequence: int
) -> None:
    fill(spool, 4)
    uplink = start(scripted.address)
    session = scripted.session()
    session.welcome(2)
    assert session.batches(2) == [1, 2]
    session.ack(sequence)
    session.refuse(sequence, "whatever it is", whole=True)
    session.ack(1)
    assert session.batch() == 3
    assert waiting(spool) == [2, 3, 4]
    assert (uplink.counters.rows_acked, uplink.counters.rows_refused) == (3, 0)


def test_batch_when_answered_twice_then_its_rows_count_once(
    scripted: ScriptedCollector, spool: Spool, start: Start
) -> None:
    fill(spool, 2)
    uplink = start(scripted.address)
    session = scripted.session()
    session.welcome()
    session.batches(2)
    session.ack(1, 1)
    session.refuse(1, "after all", whole=True)
    session.ack(2)
    wait_until(lambda: not waiting(spool))
    assert (uplink.counters.rows_acked, uplink.counters.rows_refused) == (6, 0)


def test_reason_when_hostile_then_it_is_one_line_of_the_log(
    scripted: ScriptedCollector, spool: Spool, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    fill(spool, 1)
    start(scripted.address)
    session = scripted.session()
    session.welcome()
    session.refuse(session.batch(), HOSTILE, whole=True)
    session.end(grpc.StatusCode.INTERNAL, HOSTILE)
    scripted.session()
    wait_until(lambda: len(caplog.records) >= 2)
    refused, lost = (record.getMessage() for record in caplog.records[:2])
    assert refused.startswith("event=batch_refused sequence=1 rows=3 of=3 reason='no\\nlevel=info")
    assert lost.startswith("event=collector_unreachable")
    assert refused.isprintable()
    assert lost.isprintable()


def test_collector_when_it_cannot_be_reached_then_the_line_says_where_and_why(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    address = free_port()
    start(address)
    wait_until(lambda: bool(caplog.records))
    line = caplog.records[0].getMessage()
    assert line.startswith(f"event=collector_unreachable address={address} reason='UNAVAILABLE: ")
    assert line.endswith("windows wait in the spool")


class CountingSpool(Spool):
    """A spool that counts how often it is asked what follows, and how often it is waited for."""

    asked = 0

    def __init__(self) -> None:
        super().__init__(None)
        self.appended = CountingCondition()

    def after(self, sequence: int, limit: int) -> list[wire.Batch]:
        self.asked += 1
        return super().after(sequence, limit)


class CountingCondition(threading.Condition):
    waits = 0

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        self.waits += 1
        return super().wait_for(predicate, timeout)


def test_stream_when_everything_is_answered_then_it_waits_and_does_not_spin(
    scripted: ScriptedCollector,
    eager: None,  # noqa: ARG001  # for its effect
) -> None:
    spool = CountingSpool()
    fill(spool, 1)
    with uplink_to(spool, scripted.address) as uplink:
        session = scripted.session()
        session.welcome()
        session.ack(session.batch())
        wait_until(lambda: not spool.state().batches)
        session.end()
        session = scripted.session()
        session.welcome()
        wait_until(lambda: uplink.counters.connects == 2)
        asked = spool.asked
        for _ in range(50):
            uplink.reintroduce()
            session.hello()
        assert spool.asked <= asked + 2
        fill(spool, 1)
        assert session.batch() == 2
    spool.close()


def test_stream_when_quiet_but_nothing_is_owed_then_it_is_left_alone(
    scripted: ScriptedCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHECK_S", 0.001)
    spool = CountingSpool()
    with uplink_to(spool, scripted.address) as uplink:
        session = scripted.session()
        session.say(welcome=wire.Welcome(max_in_flight=1))
        wait_until(lambda: uplink.counters.connected)
        monkeypatch.setattr(stream, "SILENCE_S", 0.0)
        checks = spool.appended.waits + 20
        wait_until(lambda: spool.appended.waits >= checks)
        assert not session.gone.is_set()
    spool.close()


@settings(
    deadline=None,
    max_examples=10,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers())
def test_batches_whatever_the_collector_does_then_each_is_answered_for_once(
    eager: None,  # noqa: ARG001  # for its effect
    seed: int,
) -> None:
    """It answers late and in any order, refuses, and hangs up in the middle."""
    rng = random.Random(seed)
    left, set_aside = list(range(1, rng.randrange(2, 60))), set()
    total = len(left)
    with tempfile.TemporaryDirectory() as directory, ScriptedCollector() as scripted:
        spool = Spool(Path(directory) / "spool.sqlite")
        fill(spool, total)
        with uplink_to(spool, scripted.address) as uplink:
            while left:
                set_aside |= serve(scripted.session(), left, rng)
            wait_until(lambda: not waiting(spool))
        counters = uplink.counters
        assert counters.rows_acked + counters.rows_refused == ROWS * total
        spool.close()
        with sqlite3.connect(Path(directory) / "spool.sqlite") as db:
            assert {n for (n,) in db.execute("SELECT sequence FROM refused")} == set_aside
        db.close()


def serve(session: Session, left: list[int], rng: random.Random) -> set[int]:
    """One stream, until it hangs up or nothing is `left`; returns what it refused as a whole."""
    granted = rng.randrange(1, 6)
    session.welcome(granted)
    expected = list(left)
    pending: list[int] = []
    refused = set()
    while left and rng.random() > 0.05:
        if expected and len(pending) < granted and (not pending or rng.random() < 0.6):
            assert session.batch() == expected[0]
            pending.append(expected.pop(0))
            continue
        sequence = pending.pop(rng.randrange(len(pending)))
        left.remove(sequence)
        match rng.randrange(4):
            case 0:
                session.refuse(sequence, "no", whole=True)
                refused.add(sequence)
            case 1:
                session.refuse(sequence, "not all", rows=1)
            case _:
                session.ack(sequence)
    session.end()
    return refused
