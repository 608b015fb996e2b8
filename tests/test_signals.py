"""Which signals end a daemon."""

from __future__ import annotations

import signal
import subprocess
import sys

ASKING = "from gpuledger_agent.signals import ending; print(*ending())"


def ending(*prefix: str) -> list[int]:
    done = subprocess.run(
        [*prefix, sys.executable, "-c", ASKING], capture_output=True, text=True, check=True
    )
    return [int(number) for number in done.stdout.split()]


def test_ending_when_the_terminal_goes_then_that_ends_it() -> None:
    assert ending() == [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


def test_ending_when_started_by_nohup_then_it_outlives_the_terminal() -> None:
    assert ending("nohup") == [signal.SIGTERM, signal.SIGINT]
