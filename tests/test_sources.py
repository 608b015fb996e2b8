"""Whose word a socket's is: root's for the whole host, a user's for what is his own."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gpuledger_agent.attribution import sources
from gpuledger_agent.attribution.base import Kind, WorkloadRef
from gpuledger_agent.attribution.catalogue import Catalogue
from tests.runtimes.scripted_engine import ScriptedEngine, scripted_engine
from tests.waiting import wait_until

ANN = 12_345
BOX = "a" * 64
GPU = {"DeviceRequests": [{"Driver": "nvidia", "Count": -1}]}
ROOTS = WorkloadRef(Kind.CONTAINER, BOX, "podman")
ANNS = WorkloadRef(Kind.CONTAINER, BOX, "podman", user=ANN)

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can have a socket be another user's: run as root"
)


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of ann's."""
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, ANN, ANN)
        yield Path(directory)


@contextmanager
def runtime(path: Path, owner: int) -> Iterator[ScriptedEngine]:
    """One that has a container with all GPUs."""
    with scripted_engine(path) as engine:
        os.chown(path, owner, owner)
        engine.containers({BOX: {"Name": "/x", "Config": {}, "HostConfig": GPU}})
        yield engine


@contextmanager
def catalogue(given: Path | None) -> Iterator[Catalogue]:
    sockets = {} if given is None else {"podman": given}
    [made] = sources.catalogues(["podman"], sockets, bool, time.time)
    made.start()
    try:
        made.settle(time.monotonic() + 10)
        yield made
    finally:
        made.stop()


def heard(made: Catalogue) -> tuple[bool, bool, bool, bool]:
    """Whether it is heard on root's container, on ann's, on names and on grants."""
    return (
        made.find(ROOTS) is not None,
        made.find(ANNS) is not None,
        made.named(Kind.CONTAINER, "x") is not None,
        bool(made.granted()),
    )


def test_socket_when_it_is_roots_then_its_word_counts_for_the_host(tmp_path: Path) -> None:
    with runtime(tmp_path / "s", 0), catalogue(tmp_path / "s") as made:
        assert heard(made) == (True, False, True, True)


def test_socket_when_it_is_a_users_then_he_is_heard_on_his_own_and_grants_nothing(
    tmp_path: Path,
) -> None:
    """Else any user could claim all GPUs for whom he likes, or root's containers."""
    with runtime(tmp_path / "s", ANN), catalogue(tmp_path / "s") as made:
        assert heard(made) == (False, True, False, False)


def test_socket_when_the_user_takes_it_away_or_links_to_roots_then_nothing_changes(
    home: Path, tmp_path: Path
) -> None:
    given = home / "s"
    with runtime(tmp_path / "roots", 0), runtime(given, ANN):
        with catalogue(given) as made:
            given.rename(home / "away")
            assert heard(made) == (False, True, False, False)
            given.symlink_to(tmp_path / "roots")
            assert heard(made) == (False, True, False, False)
        # Nor does it help to begin with root's and be heard as root later.
        with catalogue(given) as made:
            assert heard(made) == (False, True, False, False)


def test_socket_when_root_links_to_a_users_then_it_is_the_users(home: Path, tmp_path: Path) -> None:
    (tmp_path / "ann.sock").symlink_to(home / "s")
    with runtime(home / "s", ANN), catalogue(tmp_path / "ann.sock") as made:
        assert heard(made) == (False, True, False, False)


def test_socket_when_it_was_never_there_then_it_is_nobodys(tmp_path: Path) -> None:
    with catalogue(tmp_path / "s") as made:
        assert heard(made) == (False, False, False, False)
        assert not made.state.present


def test_socket_when_it_is_of_who_runs_the_agent_then_its_grants_count(tmp_path: Path) -> None:
    with runtime(tmp_path / "s", ANN), catalogue(tmp_path / "s") as made:
        os.seteuid(ANN)
        try:
            assert len(made.granted()) == 1
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("owner", [0, ANN])
def test_socket_when_nobody_named_it_then_it_is_used_if_it_is_roots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int
) -> None:
    usual = (str(tmp_path / "nothing"), str(tmp_path / "s"))
    found = replace(sources.SOCKETS["podman"], usual=usual)
    monkeypatch.setitem(sources.SOCKETS, "podman", found)
    with runtime(tmp_path / "s", owner), catalogue(None) as made:
        wait_until(lambda: made.state.up or made.state.reason != "" or owner == ANN)
        assert made.state.present == (owner == 0)
        assert bool(made.granted()) == (owner == 0)
