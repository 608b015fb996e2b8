"""Where agents connect: the port, and TLS on it."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from gpuledger_agent.config import host_port, is_loopback


class ServeError(Exception):
    """The collector cannot serve as it was told to; says why and what to do in one line."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of PEM: our certificate and key, and what agents' certificates must be signed by."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


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
    try:
        pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        roots = tls.client_ca.read_bytes() if tls.client_ca else None
    except OSError as error:
        raise ServeError(f"TLS: {error.filename}: {error.strerror}") from error
    _check_pem(tls)
    return grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)


def _check_pem(tls: Tls) -> None:
    """Raise ServeError for what gRPC would call a port that cannot be bound."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = f"{tls.certificate} and {tls.key}"
    try:
        # An empty password: a key that needs one is refused, instead of asked for.
        context.load_cert_chain(tls.certificate, tls.key, password="")
        if tls.client_ca is not None:
            files = str(tls.client_ca)
            context.load_verify_locations(tls.client_ca)
    except ssl.SSLError as error:
        reason = (error.reason or "not PEM").replace("_", " ").lower()
        raise ServeError(f"TLS: {files}: {reason}; give PEM files that belong together") from error


def _refusal(address: str) -> str:
    """Why nobody can listen there, which gRPC keeps to itself."""
    host, port = host_port(address)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return "is the port taken?"
