"""Log lines about receivers: one when a kind of fault appears, one when all is well again."""

from __future__ import annotations

import logging
from collections import defaultdict

from gpuledger_collector.ledger.notify.fault import SendError

log = logging.getLogger(__name__)


class Complaints:
    """Remembers what was said of which receiver."""

    def __init__(self) -> None:
        self._open: dict[str, set[str]] = defaultdict(set)

    def about(self, receiver: str, error: SendError) -> None:
        """Log a fault unless one of its kind is known to be open."""
        if error.kind not in self._open[receiver]:
            self._open[receiver].add(error.kind)
            log.warning("event=notify_fails receiver=%s fault=%s reason=%r it is tried again",
                        receiver, error.kind, error.reason)  # fmt: skip

    def none(self, receiver: str) -> None:
        """Log the end of all faults of this receiver, if there were any."""
        if self._open.pop(receiver, None):
            log.info("event=notify_works_again receiver=%s", receiver)
