"""A Docker daemon of the tests: Debian's docker.io, without network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtimes.enclosure import require
from tests.runtimes.runtime import Runtime, started

PROGRAMS = ("dockerd", "containerd", "runc", "busybox", "unshare", "setpriv")
PACKAGES = "docker.io containerd runc busybox-static util-linux"


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """Docker, running. Its OCI runtime `nvidia` is plain runc: it gives no GPU, but is named so."""
    require(PROGRAMS, PACKAGES)
    directory = tmp_path_factory.mktemp("dockerd")
    socket = directory / "docker.sock"
    command = [
        "dockerd",
        f"--host=unix://{socket}",
        "--data-root=/run/data",
        "--exec-root=/run/docker",
        "--pidfile=/run/docker.pid",
        "--config-file=/run/docker.json",
        "--storage-driver=vfs",
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--add-runtime=nvidia=runc",
    ]
    with started(Runtime(socket), command, directory, "echo {} > /run/docker.json") as runtime:
        yield runtime
