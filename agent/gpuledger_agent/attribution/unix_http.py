"""Questions to an HTTP server on a unix socket of this host, within a time and a size."""

from __future__ import annotations

import errno
import grp
import http.client
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuledger_agent.attribution.base import SourceError

MAX_ANSWER_BYTES = 8 << 20
"""Of one answer, headers included; a container takes some 2 KiB of a list."""


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

    def get(self, target: str) -> Answer:
        """The answer to GET of a target, whatever its status. Raises SourceError."""
        try:
            self._connection.request("GET", target)
            with self._connection.getresponse() as response:
                body = response.read(MAX_ANSWER_BYTES)  # as much as the socket lets through
                headers = {name.lower(): value for name, value in response.getheaders()}
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise SourceError(f"{self._path} {self._why(error)}") from error
        return Answer(response.status, headers, body)

    def close(self) -> None:
        """Hang up. Never raises."""
        self._connection.close()

    def _why(self, error: OSError | http.client.HTTPException) -> str:
        match error:
            case TimeoutError():
                return f"took longer than {self._seconds:g} seconds"
            case PermissionError():
                return f"may not be opened: {_remedy(self._path)}"
            case FileNotFoundError() | ConnectionRefusedError():
                return "has nobody listening: start the runtime, or name another socket"
            case OSError():
                return f"fails: {error.strerror or error}"
            case _:
                return f"does not speak HTTP: {type(error).__name__}"


class _Socket(socket.socket):
    """A unix socket with one deadline for all it does, and a limit for what a question brings.

    A timeout as sockets have it begins anew with every byte: a server that drips would hold us.
    http.client has no limit for a chunk of negative size.
    """

    def __init__(self, deadline: float) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._deadline = deadline
        self._received = 0

    def connect(self, address: Any, /) -> None:
        self._limit()
        super().connect(address)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        self._limit()
        self._received = 0
        super().sendall(data, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self._limit()
        received = super().recv_into(buffer, nbytes, flags)
        self._received += received
        if self._received > MAX_ANSWER_BYTES:
            raise OSError(errno.EMSGSIZE, f"an answer has over {MAX_ANSWER_BYTES} bytes")
        return received

    def _limit(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(left)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, deadline: float) -> None:
        super().__init__("localhost")
        self._path = path
        self._deadline = deadline

    def connect(self) -> None:
        self.sock = _Socket(self._deadline)
        self.sock.connect(str(self._path))


def _remedy(path: Path) -> str:
    """Who may open a socket that we may not."""
    try:
        group = grp.getgrgid(path.stat().st_gid).gr_name
    except (OSError, KeyError):
        return "run the agent as root"
    return f"run the agent as root, or as a member of group {group}"
