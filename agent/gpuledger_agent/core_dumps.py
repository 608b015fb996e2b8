"""What is left of a process that crashes: where its threads were, never what was in memory."""

from __future__ import annotations

import faulthandler
import resource
import sys


def forbid_core_dumps() -> None:
    """Let neither this process nor its children leave a core: keys and tokens would be in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def trace_crashes() -> None:
    """Let a crash, or an abort by systemd's watchdog, say on stderr where each thread was.

    PYTHONFAULTHANDLER would not: our packages start Python so that it heeds no environment.
    """
    if sys.stderr is not None:
        faulthandler.enable()
