"""Stands between a collector and its ClickHouse, and does to inserts what networks do."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PIECE = 4096


class StoreProxy:
    """Forwards connections to `url`, which may be changed.

    While `open` is clear nothing passes. The next `cut` answers to inserts are lost, with their
    connection: what was inserted is committed and nobody hears of it. `in_mid_insert` is called
    once, when half a piece of an insert has been passed on. Inserts are those that bring rows; a
    roll-up's INSERT ... SELECT is none.
    """

    def __init__(self, url: str) -> None:
        self._upstream = urlsplit(url)
        self.open = threading.Event()
        self.open.set()
        self.cut = 0
        self.in_mid_insert: Callable[[], None] | None = None
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.proxy = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def connect(self) -> socket.socket:
        return socket.create_connection((self._upstream.hostname, self._upstream.port))

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    proxy: StoreProxy


class _Connection(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        self.inserts = False
        try:
            with self.server.proxy.connect() as upstream:
                back = threading.Thread(target=self._back, args=(upstream,), daemon=True)
                back.start()
                self._forth(upstream)
        except OSError:
            pass  # one side is gone; so is the other now

    def _forth(self, upstream: socket.socket) -> None:
        proxy = self.server.proxy
        while piece := self.request.recv(PIECE):
            proxy.open.wait()
            self.inserts |= b" FORMAT Native\n" in piece
            if self.inserts and proxy.in_mid_insert is not None:
                proxy.in_mid_insert, act = None, proxy.in_mid_insert
                upstream.sendall(piece[: len(piece) // 2])
                act()
                return
            upstream.sendall(piece)

    def _back(self, upstream: socket.socket) -> None:
        proxy = self.server.proxy
        try:
            while piece := upstream.recv(PIECE):
                proxy.open.wait()
                if self.inserts and proxy.cut and piece.startswith(b"HTTP/1.1 200"):
                    proxy.cut -= 1
                    break
                self.request.sendall(piece)
        except OSError:
            pass  # (as above)
        finally:
            for side in (self.request, upstream):
                with suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
