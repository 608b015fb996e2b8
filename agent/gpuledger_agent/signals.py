"""The signals that ask a daemon to end in an orderly way."""

from __future__ import annotations

import signal


def ending() -> list[signal.Signals]:
    """SIGTERM, Ctrl-C, and the end of the terminal unless we were told to outlive it (nohup)."""
    signals = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals
