"""Where agents connect: the port, and TLS on it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from gpuledger_agent.config import host_port, is_loopback
from gpuledger_agent.followed import FileRefused
from gpuledger_agent.pem import Pem, PemFiles, follow


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


def listen(server: grpc.aio.Server, address: str, tls: Tls | None, *, insecure: bool) -> int:
    """Give the server a port at HOST:PORT; return which. Raises ServeError.

    Without `tls` it is plaintext, which beyond this host takes `insecure`.
    """
    if tls is None and not insecure:
        _check_loopback(address)
    credentials = _credentials(tls) if tls else None
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise ServeError(f"cannot listen on {address}: {_refusal(address)} (--listen)") from error


def _check_loopback(address: str) -> None:
    host, _ = host_port(address)
    if not is_loopback(host):
        raise ServeError(
            f"plaintext on {host} would show everyone's usage to the network: give"
            " --tls-cert and --tls-key, or --insecure if the network is trusted"
        )


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    """What the files hold whenever an agent connects."""
    try:
        files = follow(PemFiles(tls.certificate, tls.key, tls.client_ca))
    except FileRefused as refused:
        raise ServeError(f"TLS: {refused}") from refused

    def present() -> Any:  # None for no change, which the stubs do not know of
        return _configuration(files.value) if files.refresh() else None

    return grpc.dynamic_ssl_server_credentials(
        _configuration(files.value), present, require_client_authentication=tls.mutual
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
