"""Runs Slurm's scontrol: never through a shell, with an end in time and in output."""

from __future__ import annotations

import os
import select
import shutil
import signal
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from gpuledger_agent.attribution.base import SourceError
from gpuledger_agent.attribution.labels import shown

MAX_OUTPUT = 1 << 20
"""Bytes of an answer that are read. A job takes one or two thousand; arrays come with all tasks."""

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
"""What scontrol gets of an environment, besides SLURM_CONF where the agent has one."""


class UnknownJobError(Exception):
    """Slurm does not know the job, or no longer."""


def find() -> Path | None:
    """The scontrol on PATH, if nobody but root, or who runs the agent, can have put it there."""
    found = shutil.which("scontrol")
    if found is None:
        return None
    path = Path(found).resolve()
    with suppress(OSError):
        status = path.stat()
        others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if status.st_uid in (0, os.geteuid()) and not others_write:
            return path
    return None


def show(scontrol: Path, *what: str, until: float) -> str:
    """The answer to `scontrol show WHAT`, on one line, of which any part may be a user's text.

    `until` is of the monotonic clock. Raises SourceError and UnknownJobError.
    """
    process = _start([str(scontrol), "show", "--oneliner", *what])
    try:
        output = _read(process, until)
        code = 0 if len(output) >= MAX_OUTPUT else process.wait(max(until - time.monotonic(), 0))
    except subprocess.TimeoutExpired as error:
        raise SourceError("scontrol did not end in time: is slurmctld up?") from error
    finally:
        _end(process)
    text = output.decode("utf-8", "replace")
    if code and "Invalid job id" in text:
        raise UnknownJobError
    if code:
        said = shown(text.strip(), 200)
        raise SourceError(f"scontrol failed, exit code {code}: {said}")
    return text


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    configuration = os.environ.get("SLURM_CONF")
    environment = ENVIRONMENT | ({"SLURM_CONF": configuration} if configuration else {})
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise SourceError(f"scontrol cannot be run: {error}") from error


def _read(process: subprocess.Popen[bytes], until: float) -> bytes:
    """What it says, the first MAX_OUTPUT bytes. Raises SourceError."""
    output = bytearray()
    if process.stdout is None:
        return b""
    descriptor = process.stdout.fileno()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(output) < MAX_OUTPUT:
        left = until - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise SourceError("scontrol did not answer in time: is slurmctld up?")
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            break
        output += chunk
    return bytes(output)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing behind: neither the process, nor what it started, nor the pipe."""
    if process.returncode is None:
        # Not waited for yet, so its number is still that of its group and no other's.
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
    if process.stdout is not None:
        process.stdout.close()
