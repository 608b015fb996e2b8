"""Connections that end in time, however slowly the other side drips."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from gpuledger_collector.ledger.notify.fault import SendError

CONNECT_S = 5.0

LIMIT_S = 15.0
"""For everything after the connection, TLS included."""


@contextmanager
def dialed(
    host: str, port: int, tls: ssl.SSLContext | None, limit_s: float = LIMIT_S
) -> Iterator[socket.socket]:
    """A connection that is shut down after `limit_s`. What goes wrong in it raises SendError."""
    with _named(f"{host}:{port}"):
        raw = socket.create_connection((host, port), timeout=min(CONNECT_S, limit_s))
        with raw, raw.dup() as spare:
            expired = threading.Event()
            timer = threading.Timer(limit_s, _end, (spare, expired))
            timer.daemon = True
            timer.start()
            # The timer comes first: it knows what was spent before.
            raw.settimeout(limit_s + CONNECT_S)
            try:
                with tls.wrap_socket(raw, server_hostname=host) if tls else raw as sock:
                    yield sock
            except Exception as error:
                # A connection that was shut down shows as all sorts of things.
                if expired.is_set():
                    raise TimeoutError from error
                raise
            finally:
                timer.cancel()


def _end(spare: socket.socket, expired: threading.Event) -> None:
    expired.set()
    with suppress(OSError):
        spare.shutdown(socket.SHUT_RDWR)


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Turn what the system says into SendError."""
    try:
        yield
    except ssl.SSLError as error:
        said = getattr(error, "verify_message", "") or error.reason or "handshake failed"
        raise SendError("tls", f"{place}: {said}") from error
    except TimeoutError as error:
        raise SendError("timeout", f"{place}: no answer in time") from error
    except socket.gaierror as error:
        raise SendError("name", f"{place}: {error.strerror}") from error
    except (OSError, EOFError) as error:
        said = getattr(error, "strerror", "") or "connection ended early"
        raise SendError("connection", f"{place}: {said}") from error
