"""Real processes for tests to look at, which have begun to run when they are handed out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

CAT = "/bin/cat"


@contextmanager
def running(
    env: Mapping[bytes, bytes] | None = None, program: Path | str = CAT, **options: object
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with just this environment; `program` is a copy of cat, and so named."""
    with subprocess.Popen(
        ["cat"], executable=os.fsencode(program), env={} if env is None else env,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options,
    ) as process:  # type: ignore[call-overload]  # fmt: skip
        try:
            # Only a program that has begun has an environment to show.
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"\n"
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill it and wait until its pid is free."""
    process.kill()
    process.communicate()


FORKS = """
import os, signal, sys
children = []
for _ in range(int(sys.argv[1])):
    if not (child := os.fork()):
        signal.pause()
    children.append(child)
print(children, flush=True)
sys.stdin.read()
for child in children:
    os.kill(child, signal.SIGKILL)
for child in children:
    os.wait()
"""


@contextmanager
def many(count: int) -> Iterator[tuple[list[int], subprocess.Popen[str]]]:
    """The pids of so many processes, and their parent, which ends them at the end of its input."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", FORKS, str(count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        yield json.loads(parent.stdout.readline()), parent
        parent.communicate()


def held_files(pids: Sequence[int]) -> list[str]:
    """Which files under /proc/PID of these processes we hold open."""
    wanted = {f"/proc/{pid}" for pid in pids}
    held = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue  # the directory's own
        if target in wanted or str(Path(target).parent) in wanted:
            held.append(target)
    return held
