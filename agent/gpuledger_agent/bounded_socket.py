"""Sockets that others cannot keep us at: one deadline for all, and a limit for what comes in."""

from __future__ import annotations

import errno
import socket
import time
from typing import Any


class BoundedSocket(socket.socket):
    """A stream socket with one deadline, by the monotonic clock, for all it does.

    A timeout as sockets have it begins anew with every byte: a server that drips would hold us.
    http.client has no limit for a chunk of negative size: more than `limit` bytes raise OSError
    with EMSGSIZE. After the deadline everything raises TimeoutError.
    """

    def __init__(self, family: int, deadline: float, limit: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self.deadline = deadline
        self.received = 0
        self._limit = limit

    def connect(self, address: Any, /) -> None:
        """Connect before the deadline."""
        self._hurry()
        super().connect(address)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send before the deadline."""
        self._hurry()
        super().sendall(data, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive before the deadline, within the limit."""
        self._hurry()
        received = super().recv_into(buffer, nbytes, flags)
        self.received += received
        if self.received > self._limit:
            raise OSError(errno.EMSGSIZE, f"an answer has over {self._limit} bytes")
        return received

    def _hurry(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(left)
