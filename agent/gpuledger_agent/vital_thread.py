"""Threads without which a daemon only seems to do its work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class VitalThread(threading.Thread):
    """Works for as long as its daemon does. What ends it sooner is a fault of ours, and logged.

    `LoopPulse.watch` makes it known to probes and the service manager.
    """

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        super().__init__(name=name, target=work, daemon=True)

    def run(self) -> None:
        """Work."""
        try:
            super().run()
        except Exception:
            log.exception("event=thread_ended thread=%s", self.name)
