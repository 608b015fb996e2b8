"""From the spool to a collector: every batch until it is answered, never too many at a time."""

from __future__ import annotations

import logging
import re
import sqlite3
from pathlib import Path

import grpc
import pytest

from gpuledger_agent import stream
from gpuledger_agent.spool import Spool
from gpuledger_agent.stream import Uplink
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.scripted_collector import ScriptedCollector, Session
from tests.uplink_fixture import Start, fill, free_port, waiting
from tests.waiting import wait_until


def assert_nothing_but_hello(session: Session, uplink: Uplink) -> None:
    """What was said before this moment has been heard: only a Hello asked for now follows."""
    uplink.reintroduce()
    assert session.hello().host == "h1"


def test_agent_when_not_welcomed_yet_then_it_says_who_it_is_and_nothing_more(
    scripted: ScriptedCollector, spool: Spool, start: Start
) -> None:
    fill(spool, 3)
    uplink = start(scripted.address)
    session = scripted.session()
    assert session.hello().host == "h1"
    assert_nothing_but_hello(session, uplink)
    assert not uplink.counters.connected
    session.say(welcome=wire.Welcome(max_in_flight=8))
    assert session.batches(3) == [1, 2, 3]
    wait_until(lambda: uplink.counters.connected)


@pytest.mark.parametrize(("granted", "taken"), [(0, 1), (1, 1), (3, 3)])
def test_batches_when_so_many_are_unanswered_then_the_next_waits_for_an_answer(
    scripted: ScriptedCollector, spool: Spool, start: Start, granted: int, taken: int
) -> None:
    fill(spool, 12)
    uplink = start(scripted.address)
    session = scripted.session()
    session.welcome(granted)
    for sequence in session.batches(taken):
        assert_nothing_but_hello(session, uplink)
        session.ack(sequence)
        assert session.batch() == sequence + taken
    assert_nothing_but_hello(session, uplink)
    session.ack(*range(taken + 1, 2 * taken + 1))
    assert session.batches(taken) == list(range(2 * taken + 1, 3 * taken + 1))


def test_window_when_it_closes_during_a_backlog_then_it_goes_before_what_is_left_of_it(
    scripted: ScriptedCollector, spool: Spool, start: Start
) -> None:
    fill(spool, 10)
    start(scripted.address)
    session = scripted.session()
    session.welcome(2)
    assert session.batches(2) == [1, 2]
    fill(spool, 2)
    session.ack(1)
    assert session.batch() == 11
    session.ack(11)
    assert session.batch() == 12
    session.ack(2, 12)
    assert session.batches(2) == [3, 4]
    session.end()
    session = scripted.session()
    session.welcome(64)
    assert session.batches(8) == [3, 4, 5, 6, 7, 8, 9, 10]


def test_batch_when_acked_then_it_is_forgotten_and_its_rows_are_counted(
    scripted: ScriptedCollector, spool: Spool, start: Start
) -> None:
    fill(spool, 3)
    uplink = start(scripted.address)
    session = scripted.session()
    session.welcome()
    session.batches(3)
    session.ack(1, 3)
    wait_until(lambda: waiting(spool) == [2])
    assert uplink.counters.rows_acked == 6
    assert uplink.counters.batches_sent == 3


def test_batch_when_appended_on_a_quiet_stream_then_it_is_sent(
    scripted: ScriptedCollector, spool: Spool, start: Start
) -> None:
    start(scripted.address)
    session = scripted.session()
    session.welcome()
    for sequence in (1, 2):
        fill(spool, 1)
        assert session.batch() == sequence


@pytest.mark.parametrize("failure", [None, grpc.StatusCode.UNAVAILABLE])
def test_stream_when_it_ends_then_what_was_not_answered_is_sent_again(
    scripted: ScriptedCollector, spool: Spool, start: Start, failure: grpc.StatusCode | None
) -> None:
    fill(spool, 4)
    uplink = start(scripted.address)
    session = scripted.session()
    session.welcome()
    assert session.batches(4) == [1, 2, 3, 4]
    session.ack(2)
    wait_until(lambda: waiting(spool) == [1, 3, 4])
    session.end(failure, "restarting")
    session = scripted.session()
    session.welcome()
    assert session.batches(3) == [1, 3, 4]
    session.ack(1, 3, 4)
    wait_until(lambda: not waiting(spool))
    assert uplink.counters.connects == 2


def test_collector_when_it_comes_back_then_the_agent_finds_it_and_says_so_once(
    spool: Spool, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    fill(spool, 1)
    address = free_port()
    start(address)
    wait_until(lambda: "event=collector_unreachable" in caplog.text)
    with ScriptedCollector(address) as scripted:
        session = scripted.session()
        session.welcome()
        session.ack(session.batch())
        wait_until(lambda: not waiting(spool))
    lines = [record.getMessage() for record in caplog.records[:2]]
    assert lines[0].startswith("event=collector_unreachable")
    assert re.fullmatch(rf"event=collector_connected address={address} after_s=\d+\.\d", lines[1])


def test_collector_when_it_is_there_from_the_first_then_the_agent_says_so_once(
    scripted: ScriptedCollector, spool: Spool, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    fill(spool, 2)
    start(scripted.address)
    session = scripted.session()
    session.welcome()
    session.ack(*session.batches(2))
    wait_until(lambda: not waiting(spool))
    [line] = [record.getMessage() for record in caplog.records]
    assert line == f"event=collector_connected address={scripted.address}"


def test_addresses_when_the_first_do_not_answer_then_the_next_is_tried(
    scripted: ScriptedCollector, spool: Spool, start: Start
) -> None:
    fill(spool, 1)
    start(free_port(), free_port(), scripted.address)
    session = scripted.session()
    session.welcome()
    assert session.batch() == 1


def test_collector_when_it_owes_an_answer_for_too_long_then_another_is_tried(
    scripted: ScriptedCollector,
    spool: Spool,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(stream, "SILENCE_S", 0.2)
    monkeypatch.setattr(stream, "CHECK_S", 0.05)
    fill(spool, 1)
    with ScriptedCollector() as stuck:
        start(stuck.address, scripted.address)
        silent = stuck.session()
        session = scripted.session()
        assert silent.gone.wait(30)
        session.welcome()
        session.ack(session.batch())
        wait_until(lambda: not waiting(spool))
    lost = caplog.records[0].getMessage()
    assert lost.startswith(f"event=collector_unreachable address={stuck.address}")
    assert "reason='no answer for 0.2 s'" in lost


def test_batch_when_refused_as_a_whole_then_it_is_set_aside_and_others_follow(
    scripted: ScriptedCollector, spool: Spool, tmp_path: Path, start: Start
) -> None:
    fill(spool, 3)
    uplink = start(scripted.address)
    session = scripted.session()
    session.welcome(1)
    session.refuse(session.batch(), "two days", rows=0, whole=True)
    session.ack(session.batch())
    session.ack(session.batch())
    wait_until(lambda: not waiting(spool))
    counters = uplink.counters
    assert (counters.rows_refused, counters.rows_acked, counters.batches_refused) == (3, 6, 1)
    with sqlite3.connect(tmp_path / "spool.sqlite") as db:
        kept = db.execute("SELECT sequence, reason FROM refused").fetchall()
    db.close()
    assert kept == [(1, "two days")]


@pytest.mark.parametrize(("told", "refused"), [(2, 2), (99, 3)])
def test_batch_when_some_rows_are_refused_then_it_is_forgotten_and_they_are_counted(
    scripted: ScriptedCollector, spool: Spool, start: Start, told: int, refused: int
) -> None:
    fill(spool, 1)
    uplink = start(scripted.address)
    session = scripted.session()
    session.welcome()
    session.refuse(session.batch(), "gpu_usage row 1: held_ms is too long", rows=told)
    wait_until(lambda: not waiting(spool))
    assert (uplink.counters.rows_refused, uplink.counters.rows_acked) == (refused, 3 - refused)
