"""The limit of distinct owners on one host: what floods is refused, what is in use stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpuledger_agent.attribution.cardinality import IDLE_S, LIMIT, LIMIT_EACH, Cardinality

TIMES = st.floats(-1e9, 1e9)


def test_admit_when_a_host_is_full_then_further_values_are_refused_and_counted() -> None:
    cardinality = Cardinality()
    whose = [f"user {n}" for n in range(LIMIT)]
    assert all(cardinality.admit("team", str(n), 0.0, whose[n]) for n in range(LIMIT))
    assert not cardinality.admit("team", "one more", 1.0, "user x")
    assert not cardinality.admit("team", "one more", 2.0, "user x")
    assert cardinality.admit("team", "0", 3.0, "user x")
    assert cardinality.admit("model", "one more", 3.0, "user x")
    assert cardinality.refused == 2


def test_admit_when_one_makes_up_values_then_the_others_have_room() -> None:
    cardinality = Cardinality()
    admitted = [cardinality.admit("team", str(n), 0.0, "pod ml/noisy") for n in range(LIMIT)]
    assert admitted == [True] * LIMIT_EACH + [False] * (LIMIT - LIMIT_EACH)
    assert cardinality.admit("model", "new", 0.0, "pod ml/noisy")
    assert cardinality.admit("team", "search", 0.0, "pod ml/quiet")
    # What is known already may be anybody's.
    assert cardinality.admit("team", "search", 0.0, "pod ml/noisy")


def test_admit_when_ones_own_values_are_long_unused_then_they_have_room_for_new_ones() -> None:
    cardinality = Cardinality(limit=3, limit_each=1)
    assert cardinality.admit("team", "a", 0.0, "ann")
    assert not cardinality.admit("team", "b", IDLE_S / 2, "ann")
    assert cardinality.admit("team", "a", IDLE_S / 2, "bob")
    assert not cardinality.admit("team", "b", IDLE_S, "ann")
    assert cardinality.admit("team", "b", IDLE_S * 1.5, "ann")
    assert not cardinality.admit("team", "a", IDLE_S * 1.5, "ann")


def test_admit_when_a_value_was_not_used_for_an_hour_then_another_takes_its_place() -> None:
    cardinality = Cardinality(limit=2)
    assert cardinality.admit("team", "a", 0.0, "x")
    assert cardinality.admit("team", "b", 0.0, "x")
    assert cardinality.admit("team", "a", 1.0, "x")
    assert not cardinality.admit("team", "c", IDLE_S - 1.0, "x")
    assert cardinality.admit("team", "c", IDLE_S, "x")
    assert not cardinality.admit("team", "b", IDLE_S, "x")
    assert cardinality.admit("team", "a", IDLE_S, "x")


@given(
    asked=st.lists(st.tuples(st.sampled_from(["team", "model"]), st.text(), TIMES)),
    limit=st.integers(1, 4),
)
def test_admit_when_asked_for_anything_then_it_holds_no_more_than_the_limit(
    asked: list[tuple[str, str, float]], limit: int
) -> None:
    cardinality = Cardinality(limit)
    answers = []
    for field, value, now in asked:
        answers.append(cardinality.admit(field, value, now, value[:1]))
        assert len(cardinality) <= 2 * limit
    assert cardinality.refused == answers.count(False)


@given(
    limit=st.integers(1, 4),
    steady=st.integers(1, 4),
    strangers=st.lists(st.tuples(st.text(), st.floats(0.0, IDLE_S / 2))),
)
def test_admit_when_values_are_in_steady_use_then_no_stranger_displaces_them(
    limit: int, steady: int, strangers: list[tuple[str, float]]
) -> None:
    cardinality = Cardinality(limit)
    owners = [f"owner {n}" for n in range(min(steady, limit))]
    now = 0.0
    for stranger, pause in [("", 0.0), *strangers]:
        assert all(cardinality.admit("team", owner, now, "ours") for owner in owners)
        now += pause
        cardinality.admit("team", stranger, now, "strangers")
