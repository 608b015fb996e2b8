"""HTTP for Prometheus and probes, at a bounded cost: nobody who reaches the port exhausts us."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

MAX_CONNECTIONS = 8
"""At a time, each with a thread; one more is hung up on."""

CONNECTION_S = 5.0
"""How long one may last."""


@dataclass(frozen=True, slots=True)
class Health:
    """What a probe is told: whether all is well, and a line that says how."""

    well: bool
    line: str


Probes = Mapping[str, Callable[[], Health]]
"""By path. They are called in any thread, and must not wait."""


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: requests are no events."""


class MetricsServer(ThreadingMixIn, WSGIServer):
    """Answers GET with the metrics of a registry; at the paths of `probes`, 200 or 503 and a line.

    Raises OSError if it cannot listen.
    """

    daemon_threads = True

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, probes: Probes | None = None
    ) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}
        super().__init__((host, port), _Handler)
        self._probes = probes or {}
        self._metrics = make_wsgi_app(registry)
        self.set_app(self._answer)

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

    def _answer(self, request: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        probe = self._probes.get(request.get("PATH_INFO", ""))
        if probe is None or request["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            page: Iterable[bytes] = self._metrics(request, start)
            return page
        health = probe()
        status = HTTPStatus.OK if health.well else HTTPStatus.SERVICE_UNAVAILABLE
        body = f"{health.line}\n".encode()
        told = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        start(f"{status.value} {status.phrase}", [*told, ("Cache-Control", "no-store")])
        return [] if request["REQUEST_METHOD"] == "HEAD" else [body]
