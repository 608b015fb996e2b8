"""A place of its own for a daemon that starts containers, which ends with all that is in it.

The daemon is the first process of a PID namespace: when it is killed, the kernel kills whatever it
started, containers included. Its mounts are in a mount namespace and go with it. Control groups and
sockets are the host's, so that a container looks from outside as it does anywhere.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest

from tests.waiting import wait_until

CGROUPS = Path("/sys/fs/cgroup")

_SETUP = """
set -e
mount -t tmpfs none /run
mkdir -p /run/dev/pts /run/dev/shm /run/cdi
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /run/dev
for gpu in 0 1; do mknod -m 666 /run/dev/nvidia$gpu c 195 $gpu; done
ln -s pts/ptmx /run/dev/ptmx
mount --bind /run/dev /dev
mount -t devpts none /dev/pts
mount -t tmpfs none /dev/shm
"""
"""/run is empty and /dev has the nodes of two GPUs, which no driver stands behind."""


def require(programs: Sequence[str], packages: str) -> None:
    """Skip the test unless root can start these programs; `packages` are Debian's."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not found: apt-get install {packages}")
    if os.geteuid() != 0:
        pytest.skip("only root can start containers outside a user namespace: run as root")


class Enclosure:
    """A daemon running in a place of its own. A context manager.

    `directory` gets its log; `setup` is shell to run inside before it starts. /run inside is for
    its files: they are gone with it.
    """

    def __init__(self, command: Sequence[str], directory: Path, setup: str = "") -> None:
        self._log = directory / "log"
        script = f"{_SETUP}{setup}\nexec {shlex.join(command)}"
        namespaces = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
        with self._log.open("wb") as log:
            self._unshare = subprocess.Popen(
                # Should this process be killed, the kernel ends all the rest.
                ["setpriv", "--pdeathsig", "KILL", *namespaces, "sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def wait_for_socket(self, path: Path, seconds: float = 30.0) -> None:
        """Return once somebody listens there; fail with the daemon's log if it ends before."""

        def ready() -> bool:
            assert self._unshare.poll() is None, self._log.read_text("utf-8", "replace")
            with socket.socket(socket.AF_UNIX) as probe:
                return probe.connect_ex(str(path)) == 0

        wait_until(ready, seconds)

    def kill(self) -> None:
        """End the daemon and everything it started, at once."""
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        with contextlib.suppress(OSError):
            # First the namespace's first process, so that its parent takes note of its end.
            for pid in children.read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._unshare.wait(5)
        self._unshare.kill()
        self._unshare.wait()


def host_pid(container_id: str) -> int:
    """Pid of a running container's first process as the host counts, by its control group."""
    found = [pid for pid in _members(container_id) if _pid_inside(pid) == "1"]
    assert len(found) == 1, f"first processes of {container_id}: {found}"
    return found[0]


def _members(container_id: str) -> Iterator[int]:
    for file in Path("/proc").glob("[0-9]*/cgroup"):
        with contextlib.suppress(OSError):
            if container_id in file.read_text():
                yield int(file.parent.name)


def _pid_inside(pid: int) -> str:
    """Its pid in the innermost PID namespace it is in (NSpid of proc_pid_status(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return line.split()[-1]
    return ""


def remove_cgroups(container_ids: Sequence[str], parents: Sequence[str]) -> None:
    """Remove the groups of killed containers, and these parents unless they are still in use."""
    # Not glob: others remove theirs meanwhile, and it fails where a directory has gone.
    for parent, names, _ in os.walk(CGROUPS, topdown=False):
        for name in names:
            if name.endswith(tuple(container_ids)):
                wait_until(lambda group=Path(parent, name): _removed(group))
    for parent in parents:
        for group in CGROUPS.glob(f"*/{parent}"):
            _removed(group)


def _removed(group: Path) -> bool:
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()
