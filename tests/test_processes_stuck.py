"""Processes that do not let their environment be read: they cost a moment, and nobody else."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpuledger_agent.patience import MAX_STUCK, WAIT_S, Patience, StuckError
from gpuledger_agent.processes import HostProcesses, ProcessFacts
from tests.live_processes import running
from tests.stuck_process import stuck_process
from tests.test_processes_strange import stat_of, tree
from tests.waiting import wait_until

TEAM = {"GPULEDGER_TEAM": "search"}


def test_environment_when_the_process_holds_its_own_memory_then_all_else_is_known(
    tmp_path: Path,
) -> None:
    table = HostProcesses(TEAM.__contains__)
    with stuck_process(tmp_path, TEAM) as pid:
        facts = table.identify(pid, 1.0)
        assert (facts.visible, facts.environ) == (True, {})
        assert facts.environ_error == f"took longer than {WAIT_S:g} seconds"
        assert facts.cgroup == Path(f"/proc/{pid}/cgroup").read_text()
        assert table.identify(pid, 2.0) is facts
    with running({b"GPULEDGER_TEAM": b"ads"}) as process:
        wait_until(lambda: not table.identify(process.pid, 3.0).environ_error)


def stuck(root: Path, pid: int, cgroup: bytes) -> Path:
    """A process in a copy of /proc, whose environment is read once somebody writes it."""
    tree(root, pid, stat_of(b"p", 0), cgroup=cgroup)
    environ = root / str(pid) / "environ"
    environ.unlink()
    os.mkfifo(environ)
    return environ


def has_reader(fifo: Path) -> bool:
    """Whether somebody reads it; who waits to then has its end."""
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def test_environment_when_it_can_be_read_at_last_then_it_is_taken_and_nobody_told_again(
    tmp_path: Path,
) -> None:
    environ = stuck(tmp_path, 7, b"0::/a")
    told: list[ProcessFacts] = []
    table = HostProcesses(TEAM.__contains__, tmp_path, noticed=told.append)
    assert table.identify(7, 1.0).environ_error
    awaited = os.open(environ, os.O_WRONLY)
    environ.unlink()
    environ.write_bytes(b"GPULEDGER_TEAM=search\0")
    os.close(awaited)
    wait_until(lambda: table.identify(7, 2.0).environ == TEAM)
    assert len(told) == 1


def test_environment_when_another_of_its_container_is_stuck_then_it_is_not_waited_for(
    tmp_path: Path,
) -> None:
    """One moment for a container, not for each of its processes; the others are read."""
    environs = [stuck(tmp_path, pid, b"0::/a") for pid in (7, 8)]
    tree(tmp_path, 9, stat_of(b"p", 0), b"GPULEDGER_TEAM=search\0", b"0::/b")
    table = HostProcesses(TEAM.__contains__, tmp_path)
    assert [bool(table.identify(pid, 1.0).environ_error) for pid in (7, 8, 9)] == [
        True,
        True,
        False,
    ]
    assert table.identify(9, 2.0).environ == TEAM
    assert [has_reader(environ) for environ in environs] == [True, False]


def test_patience_when_many_are_stuck_then_no_more_threads_are_made_until_they_return() -> None:
    patience, release = Patience(), threading.Event()
    before = set(threading.enumerate())
    with ThreadPoolExecutor(MAX_STUCK) as pool:
        asked = [pool.submit(patience.ask, n, release.wait) for n in range(MAX_STUCK)]
        assert all(isinstance(one.exception(), StuckError) for one in asked)
    try:
        assert len(set(threading.enumerate()) - before) == MAX_STUCK
        with pytest.raises(StuckError):
            patience.ask("one more", int)
    finally:
        release.set()
    wait_until(lambda: not set(threading.enumerate()) - before)
    assert patience.ask("one more", int) == 0


def test_patience_when_the_call_fails_then_its_error_is_raised() -> None:
    error = PermissionError("no")

    def fail() -> None:
        raise error

    with pytest.raises(PermissionError) as raised:
        Patience().ask("x", fail)
    assert raised.value is error
