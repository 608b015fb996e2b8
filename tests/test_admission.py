"""Whose messages may be in memory, and whose are written next."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gpuledger_collector.admission import (
    ENTRY_BYTES,
    FIRST_CREDIT,
    MAX_CREDIT,
    STREAM_PART,
    Admission,
    Lane,
    Pending,
    next_credit,
)
from gpuledger_collector.columns import Source
from gpuledger_collector.metrics import Metrics
from gpuledger_collector.packing import Message

LIMIT = 64 << 10
BIG = 2 << 20


def admission(limit: int = LIMIT) -> tuple[Admission, Metrics]:
    metrics = Metrics()
    return Admission(metrics, limit), metrics


def put(lane: Lane, size: int, host: str = "h") -> None:
    """As a session puts a message that takes so many bytes."""
    body = bytes(size - ENTRY_BYTES)
    lane.put(Message(Source("", host, ""), body, 0.0), lambda _: None)


def held(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("gpuledger_collector_pending_bytes") or 0.0


def held_back(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("gpuledger_collector_agents_held_back") or 0.0


def test_stream_when_alone_then_it_has_a_good_part_of_the_memory_and_not_all() -> None:
    full, metrics = admission()
    lone = full.join()
    while lone.has_room:
        put(lone, 1024)
    assert LIMIT / (STREAM_PART + 2) < held(metrics) < LIMIT / 4


def test_streams_when_many_then_their_parts_are_equal_and_nearly_all_is_used() -> None:
    full, metrics = admission()
    lanes = [full.join() for _ in range(100)]
    while any(ready := [lane for lane in lanes if lane.has_room]):
        for lane in ready:
            put(lane, 1024)
    assert max(lane.held for lane in lanes) - min(lane.held for lane in lanes) <= 1024
    assert 0.8 * LIMIT < held(metrics) <= LIMIT + 100 * 1024


def test_stream_when_it_comes_last_then_it_finds_room_beside_backlogs() -> None:
    full, _ = admission()
    backlogs = [full.join() for _ in range(20)]
    while any(ready := [lane for lane in backlogs if lane.has_room]):
        put(ready[0], 1024)
    assert full.join().has_room


def test_stream_when_its_message_is_greater_than_the_memory_then_it_has_it_alone() -> None:
    full, _ = admission()
    big, other = full.join(), full.join()
    put(big, BIG)
    assert not big.has_room
    assert not other.has_room
    full.release(full.take(1))
    assert big.has_room
    assert other.has_room


def test_write_when_taken_then_every_stream_has_its_turn_before_any_has_another() -> None:
    full, _ = admission(BIG)
    backlog, live = full.join(), full.join()
    for _ in range(50):
        put(backlog, 1024, "backlog")
    put(live, 1024, "live")
    taken = full.take(3 * 1024)
    assert [pending.message.source.host for pending in taken] == ["backlog", "live", "backlog"]


def test_stream_when_it_ends_then_what_is_not_being_written_is_forgotten() -> None:
    full, metrics = admission()
    gone, stays = full.join(), full.join()
    for lane in (gone, gone, stays):
        put(lane, 1024)
    [being_written] = full.take(1024)
    gone.leave()
    assert held(metrics) == 2 * 1024
    assert [pending.lane for pending in full.take(BIG)] == [stays]
    full.release([being_written])
    assert held(metrics) == 1024


def run(work: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


def test_stream_when_held_back_then_it_goes_on_once_there_is_room() -> None:
    async def scenario() -> None:
        full, metrics = admission()
        lane = full.join()
        put(lane, LIMIT)
        waiting = asyncio.create_task(lane.room())
        await asyncio.sleep(0)
        assert held_back(metrics) == 1
        assert not waiting.done()
        full.release(full.take(1))
        await waiting
        assert held_back(metrics) == 0

    run(scenario())


def test_stream_when_cancelled_while_held_back_then_it_is_no_longer_waited_for() -> None:
    async def scenario() -> None:
        full, metrics = admission()
        lane = full.join()
        put(lane, LIMIT)
        waiting = asyncio.create_task(lane.room())
        await asyncio.sleep(0)
        assert held_back(metrics) == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert held_back(metrics) == 0

    run(scenario())


def test_write_when_enough_is_there_then_it_waits_for_no_more() -> None:
    async def scenario() -> None:
        full, _ = admission()
        gathering = asyncio.create_task(full.gather(2048, wait_s=1e6))
        put(full.join(), 1024)
        await asyncio.sleep(0)
        assert not gathering.done()
        put(full.join(), 1024)
        await gathering

    run(scenario())


def test_write_when_nothing_more_comes_then_it_goes_ahead_with_what_there_is() -> None:
    async def scenario() -> None:
        full, _ = admission()
        put(full.join(), 1024)
        await full.gather(BIG, wait_s=0.001)

    run(scenario())


CREDITS = st.integers(1, MAX_CREDIT)


@given(credit=CREDITS, used=st.integers(0, MAX_CREDIT), fill=st.floats(0, 2))
def test_credit_when_anything_happens_then_it_stays_between_one_and_the_most(
    credit: int, used: int, fill: float
) -> None:
    assert 1 <= next_credit(credit, used, fill) <= MAX_CREDIT


def after(rounds: int, fill: float, used: int | None = None) -> int:
    credit = FIRST_CREDIT
    for _ in range(rounds):
        credit = next_credit(credit, credit if used is None else used, fill)
    return credit


def test_credit_when_a_backlog_drains_into_free_memory_then_it_grows_to_the_most() -> None:
    assert after(3, fill=0.1) == MAX_CREDIT


def test_credit_when_memory_is_short_then_it_shrinks_to_one() -> None:
    assert after(3, fill=0.6) == 1


def test_credit_when_it_is_not_used_then_it_is_given_up_but_for_a_live_window() -> None:
    assert after(10, fill=0.0, used=1) == 2


class Streams(RuleBasedStateMachine):
    """Whatever streams do, the sums are right and nothing that was put is lost or taken twice."""

    def __init__(self) -> None:
        super().__init__()
        self.admission, self.metrics = admission()
        self.lanes: list[Lane] = []
        self.queued: Counter[Lane] = Counter()
        self.writing: list[Pending] = []

    @rule()
    def join(self) -> None:
        self.lanes.append(self.admission.join())

    @precondition(lambda self: self.lanes)
    @rule(pick=st.integers(0, 1 << 16), size=st.integers(ENTRY_BYTES, 8192))
    def read(self, pick: int, size: int) -> None:
        lane = self.lanes[pick % len(self.lanes)]
        if lane.has_room:
            put(lane, size)
            self.queued[lane] += 1

    @rule(limit=st.integers(1, 32768))
    def take(self, limit: int) -> None:
        taken = self.admission.take(limit)
        assert bool(taken) == bool(self.queued.total())
        counts = Counter(pending.lane for pending in taken)
        for lane, count in counts.items():
            others = [n for other, n in counts.items() if self.queued[other] > n]
            assert all(count <= n + 1 for n in others), "one had two turns before another had one"
            assert count <= self.queued[lane]
        self.queued -= counts
        self.writing += taken

    @precondition(lambda self: self.writing)
    @rule(count=st.integers(1, 50))
    def commit(self, count: int) -> None:
        self.admission.release(self.writing[:count])
        del self.writing[:count]

    @precondition(lambda self: self.lanes)
    @rule(pick=st.integers(0, 1 << 16))
    def leave(self, pick: int) -> None:
        lane = self.lanes.pop(pick % len(self.lanes))
        lane.leave()
        del self.queued[lane]

    @invariant()
    def memory_is_counted(self) -> None:
        of_lanes = sum(lane.held for lane in self.lanes)
        of_the_gone = sum(p.size for p in self.writing if p.lane not in self.lanes)
        assert held(self.metrics) == of_lanes + of_the_gone
        assert held(self.metrics) < LIMIT + 8192


TestStreams = Streams.TestCase
