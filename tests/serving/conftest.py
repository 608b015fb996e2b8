"""What tests of serving share."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest


@pytest.fixture
def apart() -> Iterator[int]:
    """A process in a network namespace of its own, where 192.0.2.7 is an address of the host."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("making a network namespace takes root, and ip of iproute2")
    setup = "ip link set lo up && ip address add 192.0.2.7/32 dev lo && exec cat"
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", setup], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"\n"
        yield process.pid
        process.communicate()
