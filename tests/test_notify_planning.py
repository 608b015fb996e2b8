"""What is told when: each state once, each end where its beginning was told, nothing else."""

from __future__ import annotations

import itertools
from collections import defaultdict
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_collector.ledger.notify.composing import MAX_JOINED, Bucket, compose
from gpuledger_collector.ledger.notify.notice import FAILED, SENT, Finding, Notice
from gpuledger_collector.ledger.notify.planning import Target, Told, plan
from tests.notices import FINDING, T0, finding, notice

CHAT, PAGER = Target("chat"), Target("pager", "team")


def told(*notices: Notice, heard: bool = True) -> list[Told]:
    return [Told(each, heard) for each in notices]


def step(found: list[Finding], before: list[Told], *targets: Target) -> list[Notice]:
    return plan(found, before, lambda _: targets, T0)


def test_plan_when_a_finding_opens_then_every_target_is_told_once() -> None:
    opened = step([FINDING], [], CHAT, PAGER)
    assert [(n.receiver, n.change, n.number, n.join_key) for n in opened] == [
        ("chat", "opened", 1, ""),
        ("pager", "opened", 1, "team"),
    ]
    assert step([FINDING], told(*opened), CHAT, PAGER) == []


def test_plan_when_only_evidence_money_or_team_change_then_nothing_is_told() -> None:
    other = finding(usd=9.0, evidence={"gpus": "1"}, team="renamed", pool="other")
    assert step([other], told(notice()), CHAT) == []


def test_plan_when_the_severity_changes_then_those_who_know_it_are_told_and_new_targets_too() -> (
    None
):
    fresh = step([finding(severity="critical")], told(notice()), PAGER)
    assert [(n.receiver, n.change, n.severity_before, n.severity) for n in fresh] == [
        ("chat", "escalated", "warning", "critical"),
        ("pager", "opened", "", "critical"),
    ]
    [eased] = step([finding(severity="info")], told(notice()), CHAT)
    assert (eased.change, eased.number) == ("eased", 2)


def test_plan_when_resolved_then_those_are_told_who_knew_of_it_whatever_routes_say_now() -> None:
    end = T0 + timedelta(hours=1)
    gone = finding(state="resolved", resolved_at=end, severity="critical", team="renamed")
    [resolved] = step([gone], told(notice(state=SENT)), PAGER)
    assert (resolved.receiver, resolved.change, resolved.number) == ("chat", "resolved", 2)
    assert (resolved.resolved_at, resolved.team, resolved.severity) == (end, "search", "warning")
    assert (resolved.state, resolved.attempts, resolved.message) == ("waiting", 0, "")


def test_plan_when_resolved_and_its_opening_was_given_up_then_nobody_is_told() -> None:
    gone = finding(state="resolved", resolved_at=T0)
    [resolved] = step([gone], told(notice(state=FAILED), heard=False), CHAT)
    assert (resolved.change, resolved.state) == ("resolved", FAILED)


def test_plan_when_acknowledged_then_nothing_is_told_until_it_resolves() -> None:
    resting = finding(state="acknowledged", severity="critical")
    assert step([resting], [], CHAT) == []
    assert step([resting], told(notice()), CHAT, PAGER) == []
    [resolved] = step([finding(state="resolved", resolved_at=T0)], told(notice()), CHAT)
    assert resolved.change == "resolved"


def test_plan_when_it_comes_back_then_the_end_is_told_before_the_new_opening() -> None:
    again = finding(first_seen=T0 + timedelta(hours=2))
    gone = finding(state="resolved", resolved_at=T0 + timedelta(hours=1))
    fresh = step([again, gone], told(notice()), CHAT)
    assert [(n.change, n.first_seen) for n in fresh] == [
        ("resolved", T0),
        ("opened", again.first_seen),
    ]


def test_plan_when_two_evaluations_began_it_then_it_is_told_once() -> None:
    later = T0 + timedelta(seconds=1)
    assert step([FINDING], told(notice(first_seen=later)), CHAT) == []
    both = [finding(state="resolved", resolved_at=T0, first_seen=begun) for begun in (T0, later)]
    [resolved] = step(both, told(notice(first_seen=later)), CHAT)
    assert resolved.first_seen == later


STATES = st.lists(
    st.tuples(
        st.sampled_from(["open", "acknowledged", "resolved"]),
        st.sampled_from(["info", "warning", "critical"]),
        st.sets(st.sampled_from(["chat", "pager"])),
    ),
    max_size=12,
)


@given(STATES)
def test_plan_when_a_finding_lives_any_life_then_each_receiver_hears_each_state_once(
    life: list[tuple[str, str, set[str]]],
) -> None:
    latest: dict[tuple[str, object], Notice] = {}
    heard: dict[tuple[str, object], list[Notice]] = defaultdict(list)
    begun, ended = T0, False
    past: list[Finding] = []
    for state, severity, routes in life:
        if ended and state != "resolved":
            begun, ended = begun + timedelta(hours=1), False
        now = finding(
            state=state, severity=severity, first_seen=begun,
            resolved_at=begun + timedelta(minutes=1) if state == "resolved" else None,
        )  # fmt: skip
        ended = state == "resolved"
        past = [each for each in past if each.first_seen != begun] + [now]
        standing = [n for n in latest.values() if n.change != "resolved"]
        for fresh in plan(past, told(*standing), lambda _, r=routes: [Target(x) for x in r], T0):
            latest[fresh.receiver, fresh.first_seen] = fresh
            heard[fresh.receiver, fresh.first_seen].append(fresh)
        assert all(n.change == "resolved" for n in latest.values() if n.first_seen < begun)
        if state == "open":
            told_now = {n.receiver: n.severity for n in latest.values() if n.first_seen == begun}
            assert routes <= told_now.keys()
            assert set(told_now.values()) <= {severity}
    for notices in heard.values():
        assert [n.number for n in notices] == list(range(1, len(notices) + 1))
        assert notices[0].change == "opened"
        assert all(n.change != "resolved" for n in notices[:-1])
        for before, after in itertools.pairwise(notices):
            assert after.change == "resolved" or after.severity != before.severity
    assert len({n.id for each in heard.values() for n in each}) == sum(map(len, heard.values()))


def waiting(count: int, **given: object) -> list[Notice]:
    return [notice(finding=f"{number:016x}", **given) for number in range(count)]


def test_compose_when_there_is_room_then_each_finding_is_a_message_with_its_own_id() -> None:
    three = waiting(3)
    composed = compose(three, 3, always_join=False)
    assert [(m.id, len(m.notices)) for m in composed] == [(n.id, 1) for n in three]
    assert all(n.message == m.id for m in composed for n in m.notices)


def test_compose_when_there_is_less_room_then_the_excess_is_one_message() -> None:
    composed = compose(waiting(20), 3, always_join=False)
    assert [len(message.notices) for message in composed] == [1, 1, 18]


def test_compose_when_there_is_no_room_then_all_wait() -> None:
    assert compose(waiting(3), 0, always_join=False) == []


def test_compose_when_grouped_then_a_group_is_one_message_and_keeps_its_order() -> None:
    search, speech = waiting(2, join_key="search"), waiting(2, join_key="speech")
    mixed = [search[0], speech[0], search[1], speech[1]]
    composed = compose(mixed, 5, always_join=False)
    assert [[n.finding for n in m.notices] for m in composed] == [
        [n.finding for n in search],
        [n.finding for n in speech],
    ]


def test_compose_when_a_message_was_tried_before_then_it_is_repeated_as_it_was_and_first() -> None:
    [first] = compose(waiting(3), 1, always_join=False)
    later = notice(finding="f" * 16)
    again = compose([later, *first.notices], 2, always_join=False)
    assert [message.id for message in again] == [first.id, later.id]
    assert [n.finding for n in again[0].notices] == [n.finding for n in first.notices]
    assert [message.known for message in again] == [True, False]


@settings(deadline=None)
@given(st.integers(0, 250), st.integers(0, 12), st.booleans(), st.integers(1, 5))
def test_compose_when_anything_waits_then_nothing_is_lost_or_told_twice(
    count: int, room: int, always_join: bool, groups: int
) -> None:
    left = [
        notice(finding=f"{n:016x}", join_key=str(n % groups) if groups > 1 else "")
        for n in range(count)
    ]
    seen: list[str] = []
    while room and left:
        composed = compose(left, room, always_join=always_join)
        assert 1 <= len(composed) <= room
        assert all(1 <= len(message.notices) <= MAX_JOINED for message in composed)
        sent = [n.id for message in composed for n in message.notices]
        seen += sent
        left = [n for n in left if n.id not in sent]
    assert len(seen) == len(set(seen)) == (count if room else 0)


def test_bucket_when_it_is_empty_then_it_fills_at_its_rate_and_no_higher_than_its_burst() -> None:
    bucket = Bucket(3, 6, T0)
    for _ in range(3):
        bucket.take(T0)
    assert bucket.room(T0) == 0
    for second in range(1, 10):
        assert bucket.room(T0 + timedelta(seconds=second)) == 0
    assert bucket.room(T0 + timedelta(seconds=10)) == 1
    assert bucket.room(T0 + timedelta(hours=1)) == 3


@given(st.lists(st.floats(0, 600), max_size=60).map(sorted))
def test_bucket_when_asked_before_each_message_then_the_rate_holds(times: list[float]) -> None:
    bucket, went = Bucket(5, 6, T0), []
    for time in times:
        at = T0 + timedelta(seconds=time)
        if bucket.room(at):
            bucket.take(at)
            went.append(time)
    for first in went:
        for last in went:
            between = sum(first <= time <= last for time in went)
            assert between <= 5 + max(last - first, 0) / 10 + 1e-3
