"""The uplink when it is told to end, at any moment: it does, and leaves nothing behind."""

from __future__ import annotations

import threading

import pytest

from gpuledger_agent import stream
from gpuledger_agent.spool import Spool
from gpuledger_agent.stream import Uplink
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.scripted_collector import ScriptedCollector, Session
from tests.uplink_fixture import fill, free_port, uplink_to, waiting
from tests.waiting import wait_until


def connected(scripted: ScriptedCollector) -> Session:
    session = scripted.session()
    session.welcome()
    return session


def test_streams_when_they_end_then_no_thread_is_left_behind(
    scripted: ScriptedCollector, spool: Spool
) -> None:
    def come_and_go() -> None:
        with uplink_to(spool, scripted.address):
            session = connected(scripted)
        assert session.gone.wait(30)

    come_and_go()
    before = threading.active_count()
    for _ in range(8):
        come_and_go()
    wait_until(lambda: threading.active_count() <= before + 2)


def test_stop_when_the_stream_is_quiet_then_it_ends_and_the_collector_sees_it(
    scripted: ScriptedCollector, spool: Spool
) -> None:
    with uplink_to(spool, scripted.address):
        session = connected(scripted)
    assert session.gone.wait(30)


def test_stop_when_the_collector_never_answers_then_it_ends_and_nothing_is_lost(
    scripted: ScriptedCollector, spool: Spool
) -> None:
    fill(spool, 2)
    with uplink_to(spool, scripted.address):
        assert connected(scripted).batches(2) == [1, 2]
    with uplink_to(spool, scripted.address):
        assert scripted.session().hello()
    assert waiting(spool) == [1, 2]


def test_stop_when_it_is_just_connecting_then_it_ends(
    scripted: ScriptedCollector, spool: Spool
) -> None:
    """Before there is a call that could be cancelled; the collector never ends the stream."""
    for _ in range(20):
        connecting = threading.Event()

        def hello(connecting: threading.Event = connecting) -> wire.Hello:
            connecting.set()
            return wire.Hello()

        with uplink_to(spool, scripted.address, hello=hello):
            connecting.wait()


def test_stop_when_it_is_pausing_between_two_tries_then_it_ends(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream, "BACKOFF_MIN_S", 3600.0)
    monkeypatch.setattr(stream, "BACKOFF_MAX_S", 3600.0)
    with uplink_to(spool, free_port()):
        wait_until(lambda: bool(caplog.records))


def test_stop_when_not_yet_started_then_it_does_not_connect(
    scripted: ScriptedCollector, spool: Spool
) -> None:
    uplink = Uplink([scripted.address], spool, wire.Hello)
    uplink.stop()
    uplink.run()
    assert uplink.counters.connects == 0
