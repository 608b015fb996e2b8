"""Where agents connect: the port, and TLS on it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from gpuledger_agent.config import host_port, is_loopback
from gpuledger_agent.followed import FileRefused
from gpuledger_agent.pem import Dated, Pem, PemFiles, follow


class ServeError(Exception):
    """The collector cannot serve as it was told to; says why and what to do in one line."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of PEM: our certificate and key, and what agents' certificates must be signed by.

    With `any_host` they need not name the host that their agent speaks for.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None
    any_host: bool = False

    @property
    def mutual(self) -> bool:
        """Whether agents must show a certificate."""
        return self.client_ca is not None


class Credentials:
    """What agents meet on the port: what the files hold whenever one connects.

    Raises ServeError when made, for files that cannot be served with. Any thread may use it.
    """

    def __init__(self, tls: Tls) -> None:
        try:
            self._files = follow(PemFiles(tls.certificate, tls.key, tls.client_ca))
        except FileRefused as refused:
            raise ServeError(f"TLS: {refused}") from refused
        self._mutual = tls.mutual
        self._presented = self._files.value

    def dates(self) -> tuple[Dated, ...]:
        """Of what the files hold now, or held while they were good."""
        self._files.refresh()
        return self._files.value.dates

    def of_server(self) -> grpc.ServerCredentials:
        """As gRPC takes them."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._presented),
            self._present,
            require_client_authentication=self._mutual,
        )

    def _present(self) -> Any:  # None for no change, which the stubs do not know of
        self._files.refresh()
        if self._files.value is self._presented:
            return None
        self._presented = self._files.value
        return _configuration(self._presented)


def listen(
    server: grpc.aio.Server, address: str, credentials: Credentials | None, *, insecure: bool
) -> int:
    """Give the server a port at HOST:PORT; return which. Raises ServeError.

    Without `credentials` it is plaintext, which beyond this host takes `insecure`.
    """
    if credentials is None and not insecure:
        _check_loopback(address)
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials.of_server())
    except RuntimeError as error:
        raise ServeError(f"cannot listen on {address}: {_refusal(address)} (--listen)") from error


def _check_loopback(address: str) -> None:
    host, _ = host_port(address)
    if not is_loopback(host):
        raise ServeError(
            f"plaintext on {host} would show everyone's usage to the network: give"
            " --tls-cert and --tls-key, or --insecure if the network is trusted"
        )


def _configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], pem.ca or None)


def _refusal(address: str) -> str:
    """Why nobody can listen there, which gRPC keeps to itself."""
    host, port = host_port(address)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return "is the port taken?"
