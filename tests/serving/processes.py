"""Servers as processes of their own, and workloads made of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpuledger_agent.attribution.base import Kind
from gpuledger_agent.attribution.rules import Named
from gpuledger_agent.records import Owner
from gpuledger_agent.serving.subjects import Subject

LOOKALIKE = Path(__file__).with_name("lookalike.py")

OWNER = Owner(team="search", model="ranker-7b", endpoint="rank", pool="production")


@contextmanager
def lookalike(
    port: int = 0, *, child: bool = False, own_session: bool = True
) -> Iterator[tuple[int, int]]:
    """Pid and port of a server; or pid of a child of it, which listens on nothing, and its port."""
    command = [sys.executable, str(LOOKALIKE), str(port), *(["child"] if child else [])]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, start_new_session=own_session, text=True
    ) as process:
        assert process.stdout is not None
        told = process.stdout.readline().split()
        try:
            yield (int(told[1]) if child else process.pid), int(told[0])
        finally:
            for pid in {process.pid, int(told[-1]) if child else process.pid}:
                os.kill(pid, signal.SIGKILL)


def subject(pid: int, metrics: str = "", workload: str = "ranker") -> Subject:
    """A workload with this process on a GPU, labelled so if at all."""
    said = Named(metrics, "built-in: gpuledger labels", "docker", f"label={metrics}")
    return Subject(Kind.CONTAINER, workload, OWNER, said if metrics else None, pid)
