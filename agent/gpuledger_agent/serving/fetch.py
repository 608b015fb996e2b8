"""One GET of a server's metrics, within a time and a size, from this host and nowhere else."""

from __future__ import annotations

import errno
import http.client
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from gpuledger_agent.bounded_socket import BoundedSocket
from gpuledger_agent.serving.errors import ScrapeError
from gpuledger_agent.serving.network import Listener, is_local, own_namespace, within

SCRAPE_S = 2.0
"""How long one may take."""

MAX_ANSWER_BYTES = 4 << 20
"""Of one answer, headers included."""

_HEADERS = {
    # Not OpenMetrics: prometheus_client then writes underscores for the colons in names of samples.
    "Accept": "text/plain;version=0.0.4, */*;q=0.1",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "gpuledger-agent",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server answers: a listener, in the network namespace that `pid` is in, and a path."""

    listener: Listener
    pid: int
    namespace: int
    path: str

    def __str__(self) -> str:
        host = self.listener.address
        return f"[{host}]:{self.listener.port}" if ":" in host else f"{host}:{self.listener.port}"


def fetch(endpoint: Endpoint, proc: Path) -> tuple[bytes, str]:
    """Body and content type of its answer. Raises ScrapeError."""
    try:
        with _connected(endpoint, proc) as connected:
            return _get(connected, endpoint)
    except TimeoutError as error:
        raise ScrapeError("timeout", f"took longer than {SCRAPE_S:g} seconds") from error
    except ConnectionRefusedError as error:
        raise ScrapeError("refused", "refuses connections") from error
    except OSError as error:
        if error.errno == errno.EMSGSIZE:
            limit = f"answers with more than {MAX_ANSWER_BYTES >> 20} MiB"
            raise ScrapeError("too_large", limit) from error
        raise ScrapeError("broken", f"breaks off: {error.strerror or error}") from error
    except (http.client.HTTPException, ValueError) as error:
        raise ScrapeError("no_http", f"speaks no HTTP: {type(error).__name__}") from error


def _get(connected: BoundedSocket, endpoint: Endpoint) -> tuple[bytes, str]:
    connection = http.client.HTTPConnection(endpoint.listener.address, endpoint.listener.port)
    connection.auto_open = 0
    connection.sock = connected
    connection.request("GET", endpoint.path, headers=_HEADERS)
    with connection.getresponse() as response:
        if response.status != http.HTTPStatus.OK:
            raise ScrapeError("status", f"answers with status {response.status}")
        if response.getheader("Content-Encoding", "identity").lower() != "identity":
            raise ScrapeError("encoding", "answers compressed, which was not asked for")
        body = response.read(MAX_ANSWER_BYTES)  # as much as the socket lets through
        if response.length or (response.length is None and not body.endswith(b"\n")):
            raise ScrapeError("broken", "breaks off in the middle of its answer")
        return body, response.getheader("Content-Type", "")


def _connected(endpoint: Endpoint, proc: Path) -> BoundedSocket:
    deadline = time.monotonic() + SCRAPE_S
    address = endpoint.listener.address
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def make() -> BoundedSocket:
        if not ip_address(address).is_loopback and not is_local(address):
            raise ScrapeError("foreign", f"listens at {address}, which is not this host's")
        return BoundedSocket(family, deadline, MAX_ANSWER_BYTES)

    made = make() if endpoint.namespace == own_namespace() else _made_inside(endpoint, proc, make)
    try:
        made.connect((address, endpoint.listener.port))
    except BaseException:
        made.close()
        raise
    return made


def _made_inside(
    endpoint: Endpoint, proc: Path, make: Callable[[], BoundedSocket]
) -> BoundedSocket:
    try:
        return within(endpoint.pid, endpoint.namespace, proc, make)
    except PermissionError as error:
        text = "is in a network namespace that the agent may not enter: give it CAP_SYS_ADMIN"
        raise ScrapeError("namespace", text) from error
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ScrapeError("gone", "is gone") from error
