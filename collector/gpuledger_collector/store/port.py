"""A port on loopback that stays one user's, whether or not somebody listens on it."""

from __future__ import annotations

import errno
import socket

from gpuledger_collector.store.client import StoreError

HOST = "127.0.0.1"


def hold(wanted: int) -> socket.socket:
    """Take this port, 0 for any free one, until the socket is closed. Raises StoreError.

    Processes of this user that ask for SO_REUSEPORT can listen on it (socket(7)); nobody else can,
    even while they do not. So clients never find a stranger there, and tell him a password.
    """
    with socket.socket() as probe:
        # Without SO_REUSEPORT, lest we share the port with another ClickHouse of this user's.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, wanted)
        port = int(probe.getsockname()[1])
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        _bind(held, port)
    except StoreError:
        held.close()
        raise
    return held


def refuses(port: int) -> bool:
    """Whether nobody listens there. One who is slow to answer does."""
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((HOST, port)) == errno.ECONNREFUSED


def _bind(taking: socket.socket, port: int) -> None:
    try:
        taking.bind((HOST, port))
    except OSError as error:
        raise StoreError(f"port {port} is taken: choose another, or 0 for any") from error
