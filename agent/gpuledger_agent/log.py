"""Log lines an operator can act on: one line each, never the same fault every second."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Hashable

from gpuledger_agent.text import one_line

REMEMBERED = 1024
"""Faults that `Once` remembers at most, so that hostile input cannot make it grow."""


class _OneLine(logging.Formatter):
    """`2026-11-24T06:00:00Z level=warning event=...`, with control characters escaped."""

    def __init__(self, *, priorities: bool) -> None:
        self._priorities = priorities
        super().__init__("%(asctime)s level=%(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        record.levelname = record.levelname.lower()
        line = one_line(super().format(record))
        return f"<{_priority(record.levelno)}>{line}" if self._priorities else line


def _priority(level: int) -> int:
    """Of syslog(3): what `journalctl --priority` selects by."""
    return next(number for floor, number in _PRIORITIES if level >= floor)


_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))


def _to_journal() -> bool:
    """Whether stderr is the journal's, which then takes the priorities in front of lines away."""
    try:
        stderr = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"


def configure(level: str) -> None:
    """Send the process's log to stderr, where journald and container runtimes pick it up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(priorities=_to_journal()))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class Once:
    """Logs a fault when it appears and its end when it is over, not every time in between."""

    def __init__(self, logger: logging.Logger) -> None:
        self._log = logger
        self._open: OrderedDict[Hashable, None] = OrderedDict()

    def warning(self, fault: Hashable, message: str, *args: object) -> bool:
        """Log the message unless this fault is known to be open; return whether it was logged."""
        if fault in self._open:
            return False
        self._open[fault] = None
        if len(self._open) > REMEMBERED:
            self._open.popitem(last=False)
        self._log.warning(message, *args)
        return True

    def over(self, fault: Hashable, message: str, *args: object) -> None:
        """Log the message if this fault was open, and close it."""
        if fault in self._open:
            del self._open[fault]
            self._log.info(message, *args)
