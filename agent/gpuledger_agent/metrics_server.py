"""HTTP for Prometheus, at a bounded cost: whoever reaches the port must not exhaust the daemon."""

from __future__ import annotations

import socket
import threading
import time
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

MAX_CONNECTIONS = 8
"""At a time, each with a thread; one more is hung up on."""

CONNECTION_S = 5.0
"""How long one may last."""


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: requests are no events."""


class MetricsServer(ThreadingMixIn, WSGIServer):
    """Answers GET with the metrics of a registry. Raises OSError if it cannot listen."""

    daemon_threads = True

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}
        super().__init__((host, port), _Handler)
        self.set_app(make_wsgi_app(registry))

    def start(self) -> None:
        """Begin to answer, in a thread."""
        threading.Thread(target=self.serve_forever, name="metrics", daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in another thread, if one is free."""
        with self._lock:
            full = len(self._open) >= MAX_CONNECTIONS
            if not full:
                self._open[request] = time.monotonic()
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Hang up."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Hang up on those that have lasted too long. Called twice a second."""
        now = time.monotonic()
        with self._lock:
            late = [one for one, began in self._open.items() if now - began > CONNECTION_S]
            for connection in late:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # gone by itself

    def handle_error(self, *_: object) -> None:
        """Say nothing of connections that break."""
