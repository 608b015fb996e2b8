"""The kernel's own word: cgroups made for the test, read as the agent reads them."""

from __future__ import annotations

import errno
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpuledger_agent.attribution.base import Kind, WorkloadRef
from gpuledger_agent.attribution.cgroup import MAX_DEPTH, refs
from gpuledger_agent.processes import HostProcesses
from tests.waiting import wait_until

ID = secrets.token_hex(32)
"""New for each run: cgroups are the whole host's."""


@pytest.fixture
def hierarchy() -> Path:
    """Where this host has cgroup v2, if this user may make cgroups there."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    for mount in mounts:
        if mount[2] == "cgroup2" and os.access(mount[1], os.W_OK):
            return Path(mount[1])
    pytest.skip("making cgroups takes root and a writable cgroup v2 hierarchy")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for its input to end."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process


@pytest.fixture
def make_cgroup(
    hierarchy: Path, child: subprocess.Popen[bytes]
) -> Iterator[Callable[[bytes], bytes]]:
    """Makes a cgroup and moves the child into it."""
    made: list[bytes] = []

    def make(name: bytes) -> bytes:
        path = os.fsencode(hierarchy) + b"/" + name
        os.mkdir(path)  # noqa: PTH102  # a name that is no text
        made.append(path)
        with open(path + b"/cgroup.procs", "w") as file:  # noqa: PTH123
            file.write(str(child.pid))
        return path

    yield make
    child.communicate()
    for path in made:
        wait_until(lambda path=path: removed(path))


def removed(path: bytes) -> bool:
    """Whether the cgroup is gone; the kernel may still be busy with its last process."""
    try:
        os.rmdir(path)  # noqa: PTH106
    except FileNotFoundError:
        return True
    except OSError as error:
        assert error.errno == errno.EBUSY
        return False
    return True


def cgroup_of(pid: int) -> str:
    return HostProcesses(wants=lambda _: False).identify(pid, now=0.0).cgroup


def test_refs_when_the_kernel_shows_a_name_of_odd_bytes_then_it_is_whole(
    make_cgroup: Callable[[bytes], bytes], child: subprocess.Popen[bytes]
) -> None:
    make_cgroup(f"lxc.payload.{ID} b:c\r\u2028ü\x07".encode() + b"\xff")
    assert refs(cgroup_of(child.pid)) == (
        WorkloadRef(Kind.CONTAINER, f"{ID} b:c\r\u2028ü\x07\ufffd", "lxc"),
    )


def test_refs_when_the_cgroup_went_before_its_process_then_the_name_is_as_it_was(
    make_cgroup: Callable[[bytes], bytes], child: subprocess.Popen[bytes]
) -> None:
    path = make_cgroup(f"docker-{ID}.scope".encode())
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie may outlive its cgroup
    wait_until(lambda: removed(path))
    text = Path(f"/proc/{child.pid}/cgroup").read_text()
    assert " (deleted)\n" in text
    assert refs(text) == (WorkloadRef(Kind.CONTAINER, ID, "docker"),)
    child.wait()


def test_refs_of_this_very_process_then_the_agent_and_the_kernel_agree_on_the_text() -> None:
    text = Path("/proc/self/cgroup").read_text()
    assert cgroup_of(os.getpid()) == text
    assert len(refs(text)) <= MAX_DEPTH
