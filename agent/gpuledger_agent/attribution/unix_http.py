"""Questions to an HTTP server on a unix socket of this host, within a time and a size."""

from __future__ import annotations

import errno
import grp
import http.client
import math
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gpuledger_agent.attribution.base import SourceError
from gpuledger_agent.bounded_socket import BoundedSocket

MAX_ANSWER_BYTES = 8 << 20
"""Of one answer, headers included; a container takes some 2 KiB of a list."""

CHUNK = 1 << 20
"""Bytes of a longer answer that are looked at together."""


class TooLongError(SourceError):
    """An answer of more than MAX_ANSWER_BYTES."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class UnixHttp:
    """A conversation that ends `seconds` after it began, whatever the server does.

    Whoever begins it closes it.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._connection = _Connection(path, self._end)

    @property
    def over(self) -> bool:
        """Whether its time is up."""
        return time.monotonic() >= self._end

    def get(self, target: str, seconds: float = math.inf) -> Answer:
        """The answer to GET of a target, whatever its status. Raises SourceError, TooLongError.

        `seconds` is for this answer alone; the conversation can go on after it.
        """
        with self._asked(target, seconds) as response:
            body = response.read(MAX_ANSWER_BYTES)  # as much as the socket lets through
            headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body)

    def find(
        self, target: str, pattern: re.Pattern[bytes], longest: int
    ) -> Iterator[re.Match[bytes]]:
        """Where an answer of any length has this pattern; no match has more than `longest` bytes.

        Raises SourceError. The conversation can go on after it, on another connection.
        """
        with self._asked(target) as response:
            if response.status != http.HTTPStatus.OK:
                raise SourceError(f"{self._path} answers {target} with status {response.status}")
            try:
                yield from self._matches(response, pattern, longest)
            finally:
                self._connection.close()

    def _matches(
        self, response: http.client.HTTPResponse, pattern: re.Pattern[bytes], longest: int
    ) -> Iterator[re.Match[bytes]]:
        rest = b""
        while chunk := response.read(CHUNK):
            self._connection.forget_length()
            rest += chunk
            end = 0
            for match in pattern.finditer(rest):
                end = match.end()
                yield match
            rest = rest[max(end, len(rest) - longest) :]

    @contextmanager
    def _asked(self, target: str, seconds: float = math.inf) -> Iterator[http.client.HTTPResponse]:
        until = min(self._end, time.monotonic() + seconds)
        limit = min(seconds, self._seconds)
        try:
            self._connection.ask(target, until)
            with self._connection.getresponse() as response:
                yield response
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if isinstance(error, OSError) and error.errno == errno.EMSGSIZE:
                raise TooLongError(f"{self._path} {self._why(error, limit)}") from error
            raise SourceError(f"{self._path} {self._why(error, limit)}") from error

    def close(self) -> None:
        """Hang up. Never raises."""
        self._connection.close()

    def _why(self, error: OSError | http.client.HTTPException, seconds: float) -> str:
        match error:
            case TimeoutError():
                return f"took longer than {seconds:g} seconds"
            case PermissionError():
                return f"may not be opened: {_remedy(self._path)}"
            case FileNotFoundError() | ConnectionRefusedError():
                return "has nobody listening: start the runtime, or name another socket"
            case OSError():
                return f"fails: {error.strerror or error}"
            case _:
                return f"does not speak HTTP: {type(error).__name__}"


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, deadline: float) -> None:
        super().__init__("localhost")
        self._path = path
        self._deadline = deadline
        self._socket: BoundedSocket | None = None

    def connect(self) -> None:
        self.sock = self._socket = BoundedSocket(socket.AF_UNIX, self._deadline, MAX_ANSWER_BYTES)
        self._socket.connect(str(self._path))

    def ask(self, target: str, deadline: float) -> None:
        """Send GET, to be answered until then."""
        self._deadline = deadline
        if self._socket is not None:
            self._socket.deadline = deadline
        self.forget_length()
        self.request("GET", target)

    def forget_length(self) -> None:
        """Count what is received from here."""
        if self._socket is not None:
            self._socket.received = 0


def _remedy(path: Path) -> str:
    """Who may open a socket that we may not."""
    try:
        group = grp.getgrgid(path.stat().st_gid).gr_name
    except (OSError, KeyError):
        return "run the agent as root"
    return f"run the agent as root, or as a member of group {group}"
