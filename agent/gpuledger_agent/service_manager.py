"""What a daemon tells the service manager that started it: sd_notify(3), sd_watchdog_enabled(3)."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Mapping

from gpuledger_agent.log import Once
from gpuledger_agent.text import one_line

log = logging.getLogger(__name__)

BEAT_S = 10.0
"""How often it hears of us at least, without a watchdog or with a patient one."""


class ServiceManager:
    """The service manager in `environ`, or nobody: then nothing is sent.

    Nothing waits and nothing raises: what it does not take at once is lost, and the next is sent
    `beat_s` seconds later at most if `alive` is called that often.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL byte of an address without a file.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.beat_s = min(BEAT_S, _watchdog_s(environ) / 3)
        self._told = -math.inf
        self._once = Once(log)

    def alive(self, status: str) -> None:
        """The daemon does its work. May be called often; the first time counts as its readiness."""
        now = time.monotonic()
        if now - self._told >= self.beat_s / 2:
            self._told = now
            # Readiness each time: if one were lost, it would be waited for until the start fails.
            self._send("READY=1", "WATCHDOG=1", f"STATUS={one_line(status)}")

    def stopping(self) -> None:
        """It ends."""
        self._send("STOPPING=1", "STATUS=ending")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, _DATAGRAM) as sender:
                sender.sendto("\n".join(lines).encode(), self._address)
        except BlockingIOError:
            return
        except OSError as error:
            self._once.warning("deaf", "event=service_manager_deaf reason=%r", str(error))


_DATAGRAM = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC


def _watchdog_s(environ: Mapping[str, str]) -> float:
    """Seconds after which the service manager takes us for dead; infinite if it never does."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    meant = not pid or pid == str(os.getpid())
    return int(usec) / 1e6 if meant and usec.isdecimal() and int(usec) else math.inf
