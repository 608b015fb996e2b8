"""Names of users: each looked up once, and no window waits for a directory that does not answer."""

from __future__ import annotations

import pwd
import threading

import pytest

from gpuledger_agent import user_names
from gpuledger_agent.user_names import UserNames
from tests.waiting import wait_until


def test_user_when_this_host_has_one_then_named_and_else_numbered() -> None:
    names = UserNames()
    assert names(0) == pwd.getpwuid(0).pw_name
    assert names(4_000_000_000) == "4000000000"


def test_user_when_asked_for_again_then_it_is_the_same_name_and_nobody_is_asked() -> None:
    asked: list[int] = []
    names = UserNames(lambda uid: f"user {asked.append(uid)}")
    assert names(7) is names(7)
    assert asked == [7]


def test_user_when_the_directory_hangs_then_numbers_until_it_answers() -> None:
    answers = threading.Event()
    asked: list[int] = []

    def look_up(uid: int) -> str:
        asked.append(uid)
        answers.wait(20)
        return "ann"

    names = UserNames(look_up)
    assert [names(uid) for uid in (7, 8, 9)] == ["7", "8", "9"]
    assert asked == [7], "one waits, not one for each user of each window"
    answers.set()
    wait_until(lambda: [names(uid) for uid in (7, 8, 9)] == ["ann"] * 3)


def test_users_when_there_are_ever_new_ones_then_the_oldest_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(user_names, "USERS", 2)
    asked: list[int] = []
    names = UserNames(lambda uid: f"user {asked.append(uid)}")
    for uid in (1, 2, 3, 3, 2, 1):
        names(uid)
    assert asked == [1, 2, 3, 1]
