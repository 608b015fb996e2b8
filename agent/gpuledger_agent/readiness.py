"""Whether the agent turns, and whether it can do its job: what /healthz and /readyz say."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gpuledger_agent.metrics_server import Health
from gpuledger_agent.pulse import LoopPulse

if TYPE_CHECKING:
    from gpuledger_agent.daemon import Daemon

WINDOWS = 3
"""So many without a sign are too many."""

PATIENCE_S = 60.0
"""Less than this is never held against it: a disk may be slow, windows short."""


class Pulse(LoopPulse):
    """When the daemon's loop last turned, and when a GPU last closed a window. Any thread."""

    def __init__(self, window_s: int, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__("the loop that writes windows", max(WINDOWS * window_s, PATIENCE_S), now)
        self._measured: float | None = None

    def measured(self) -> None:
        """A GPU's thread has handed over a window."""
        self._measured = self._now()

    def unmeasured(self) -> str:
        """Why GPUs count as not read; "" if they are."""
        if self._measured is None:
            return "no GPU has closed a window yet"
        silent_s = self._now() - self._measured
        return (
            f"no GPU has closed a window for {silent_s:.0f} s"
            if silent_s > self._patience_s
            else ""
        )


def ready(daemon: Daemon) -> Health:
    """Whether it measures, and keeps what it measures.

    A collector that is away is said, and changes nothing: windows wait in the spool for it.
    """
    driver, spool = daemon.driver.state(), daemon.spool.state()
    if not driver.version:
        return Health(False, "the driver does not answer: see gpuledger-agent check")
    if driver.gpus and (why := daemon.pulse.unmeasured()):
        return Health(False, f"{why}: see gpuledger-agent check")
    if not spool.on_disk:
        return Health(False, "the spool cannot be written: windows wait in memory, see the log")
    reached = "connected" if daemon.uplink.counters.connected else "away, windows wait"
    return Health(
        True,
        f"ready: {driver.gpus - driver.gpus_failed} of {driver.gpus} GPUs read,"
        f" {spool.batches} batches in the spool, collector {reached}",
    )
