"""A process whose work is done ends, whatever its threads do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

STUCK = """
import threading, time
from gpuledger_agent.leaving import leave
threading.Thread(target=time.sleep, args=(600,)).start()
print("its last words")
leave({code})
"""


@pytest.mark.parametrize(("code", "ended"), [("3", 3), ("None", 0)])
def test_leave_when_a_thread_never_ends_then_the_process_does_and_all_it_said_is_heard(
    code: str, ended: int
) -> None:
    process = subprocess.run(
        [sys.executable, "-c", STUCK.format(code=code)],
        stdout=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (process.returncode, process.stdout) == (ended, "its last words\n")


def test_leave_when_nobody_reads_any_more_then_it_is_no_error() -> None:
    command = [sys.executable, "-c", STUCK.format(code=0)]
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, env=buffered)
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")
