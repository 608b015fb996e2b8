"""A server on a unix socket that says what a test tells it to: no runtime, but real HTTP.

For what a real runtime cannot be made to do: to hang, to lie, to answer without sense.
"""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socket import socket
from typing import Any

VERSION = "1.43"


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False


class ScriptedEngine:
    """Answers GET by `answers`: path without version -> JSON, or bytes as they are.

    `asked` is what it was asked for, in order. A path in `hangs` gets no answer.
    """

    def __init__(self, path: Path) -> None:
        self.socket = path
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.hangs: set[str] = set()
        self.version: str | None = VERSION
        self.released = threading.Event()

    def containers(self, inspected: Mapping[str, Any]) -> None:
        """Let these containers run: id -> what inspecting tells."""
        self.answers = {f"/containers/{i}/json": answer for i, answer in inspected.items()}
        self.answers["/containers/json"] = [{"Id": i, "Names": ["/x"]} for i in inspected]


@contextmanager
def scripted_engine(path: Path) -> Iterator[ScriptedEngine]:
    """The server, listening."""
    engine = ScriptedEngine(path)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # as the library calls it
            engine.asked.append(self.path)
            target = self.path.removeprefix(f"/v{VERSION}")
            if target in engine.hangs:
                engine.released.wait()
                return
            found = b"OK" if target == "/_ping" else engine.answers.get(target)
            body = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(200 if found is not None or target in engine.answers else 404)
            if engine.version is not None:
                self.send_header("Api-Version", engine.version)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with _serving(path, Handler):
        try:
            yield engine
        finally:
            engine.released.set()


@contextmanager
def raw_server(path: Path, talk: Callable[[socket, threading.Event], None]) -> Iterator[None]:
    """A server that hands each connection to `talk`, with an event that is set in the end."""
    over = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                talk(self.request, over)
            except OSError:
                return  # the other side has hung up, as it should

    with _serving(path, Handler):
        try:
            yield
        finally:
            over.set()


@contextmanager
def _serving(path: Path, handler: type[socketserver.BaseRequestHandler]) -> Iterator[None]:
    with _Server(str(path), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
