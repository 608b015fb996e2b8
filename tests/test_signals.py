"""Which signals end a daemon."""

from __future__ import annotations

import signal
import subprocess
import sys

ASKING = """
import signal
from gpuledger_agent.signals import ending
signal.signal(signal.SIGHUP, signal.{before})
print(*map(int, ending()))
"""


def ending(before: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", ASKING.format(before=before)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [int(number) for number in done.stdout.split()]


def test_ending_when_the_terminal_goes_then_that_ends_it() -> None:
    assert ending("SIG_DFL") == [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


def test_ending_when_started_by_nohup_then_it_outlives_the_terminal() -> None:
    assert ending("SIG_IGN") == [signal.SIGTERM, signal.SIGINT]
