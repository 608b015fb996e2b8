"""Servers that answer as no good one does, over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answer = Callable[[socket.socket], None]


class Listening:
    """A socket in this process that answers each connection in turn. `paths` were asked for."""

    def __init__(
        self, answer: Answer, host: str = "127.0.0.1", made: socket.socket | None = None
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = made or socket.create_server((host, 0), family=family, backlog=64)
        self.port: int = self.socket.getsockname()[1]
        self.answer = answer
        self.paths: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def end(self) -> None:
        """Listen no more."""
        if self.socket.fileno() >= 0:
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes who waits for a connection
            self.socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            try:
                request = connection.recv(65_536).decode("ascii", "replace")
                self.paths.append(request.split(" ")[1] if " " in request else request)
                self.answer(connection)
            except OSError:
                return  # it hung up on us


@contextmanager
def listening(
    answer: Answer, host: str = "127.0.0.1", made: socket.socket | None = None
) -> Iterator[Listening]:
    """A server until the end of the block, on a socket that was made already if need be."""
    server = Listening(answer, host, made)
    try:
        yield server
    finally:
        server.end()


def saying(body: bytes, headers: str = "", status: str = "200 OK") -> Answer:
    """One whole answer, by HTTP."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode()
    return lambda connection: connection.sendall(head + body)


def sending(raw: bytes) -> Answer:
    """These bytes and no more."""
    return lambda connection: connection.sendall(raw)


def endless(head: bytes, again: bytes) -> Answer:
    """The one, and then the other for ever."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(again)

    return answer


def dripping(head: bytes, over: threading.Event) -> Answer:
    """A byte ten times a second."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        while not over.wait(0.1):
            connection.sendall(b"x")

    return answer


def silent(over: threading.Event) -> Answer:
    """Nothing, for ever."""
    return lambda _: (over.wait(), None)[1]
