"""A Podman service of the tests: Debian's podman, without network."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.runtimes.enclosure import require
from tests.runtimes.image import IMAGE
from tests.runtimes.runtime import Runtime, started

PROGRAMS = ("podman", "conmon", "runc", "busybox", "unshare", "setpriv")
PACKAGES = "podman conmon runc busybox-static util-linux"

GPUS = {
    "cdiVersion": "0.3.0",
    "kind": "nvidia.com/gpu",
    "containerEdits": {"env": ["NVIDIA_VISIBLE_DEVICES=void"]},
    "devices": [
        {"name": name, "containerEdits": {"deviceNodes": [{"path": node} for node in nodes]}}
        for name, nodes in {
            "0": ["/dev/nvidia0"],
            "1": ["/dev/nvidia1"],
            "all": ["/dev/nvidia0", "/dev/nvidia1"],
        }.items()
    ],
}
"""What `nvidia-ctk cdi generate` writes of two GPUs, as far as it concerns their nodes."""


class Podman(Runtime):
    """Podman has a way of its own to ask for GPUs, which its Docker API does not have."""

    cgroups = ("libpod_parent/conmon", "libpod_parent")

    @contextmanager
    def by_command(self, name: str, *options: str) -> Iterator[str]:
        """Id of a container that `podman run` starts with these options; removed in the end."""
        limits = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
        client = ("podman", f"--url=unix://{self.socket}", "run", "--detach", "--network=none")
        done = subprocess.run(
            [*client, *limits, f"--name={name}", *options, IMAGE],
            check=True,
            capture_output=True,
            text=True,
        )
        container_id = done.stdout.strip()
        self.created.append(container_id)
        try:
            yield container_id
        finally:
            self.remove(container_id)


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Podman, serving its API, with CDI names for the enclosure's two GPUs."""
    require(PROGRAMS, PACKAGES)
    directory = tmp_path_factory.mktemp("podman")
    socket = directory / "podman.sock"
    command = [
        "podman",
        "--root=/run/root",
        "--runroot=/run/runroot",
        "--cgroup-manager=cgroupfs",
        "--runtime=runc",
        "--storage-driver=vfs",
        "system",
        "service",
        "--time=0",
        f"unix://{socket}",
    ]
    setup = f"echo {shlex.quote(json.dumps(GPUS))} > /run/cdi/nvidia.json"
    with started(Podman(socket), command, directory, setup) as runtime:
        yield runtime
