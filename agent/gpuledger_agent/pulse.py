"""Whether a daemon's loop turns."""

from __future__ import annotations

import time
from collections.abc import Callable

from gpuledger_agent.metrics_server import Health


class LoopPulse:
    """When a loop last turned. Any thread may ask.

    `loop` is what a probe is told of that has not turned for more than `patience_s` seconds.
    """

    def __init__(
        self, loop: str, patience_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._loop = loop
        self._patience_s = patience_s
        self._now = now
        self._turned = now()

    def turned(self) -> None:
        """The loop goes on."""
        self._turned = self._now()

    def alive(self) -> Health:
        """Whether the loop turns: if not, only a new process helps."""
        stuck_s = self._now() - self._turned
        if stuck_s > self._patience_s:
            return Health(False, f"{self._loop} is stuck for {stuck_s:.0f} s")
        return Health(True, "alive")
