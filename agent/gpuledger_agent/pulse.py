"""Whether a daemon's loop turns, and its threads live."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gpuledger_agent.metrics_server import Health
from gpuledger_agent.vital_thread import VitalThread


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
        self._threads: tuple[VitalThread, ...] = ()

    def watch(self, threads: Sequence[VitalThread]) -> None:
        """These were started, and must live from now on; none, once they are told to end."""
        self._threads = tuple(threads)

    def turned(self) -> None:
        """The loop goes on."""
        self._turned = self._now()

    def alive(self) -> Health:
        """Whether the loop turns and every thread lives: if not, only a new process helps."""
        stuck_s = self._now() - self._turned
        if stuck_s > self._patience_s:
            return Health(False, f"{self._loop} is stuck for {stuck_s:.0f} s")
        if ended := [thread.name for thread in self._threads if not thread.is_alive()]:
            why = "the log says why (event=thread_ended)"
            return Health(False, f"thread {', '.join(ended)} has ended: {why}")
        return Health(True, "alive")
