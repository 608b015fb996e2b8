"""The certificate that a port shows, whoever signed it: for people who wonder why it is refused."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import Any

from gpuledger_agent.pem import PemFiles
from gpuledger_agent.validity import Validity, of_der

SHOWN = 5
"""Names that are repeated."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What is in it; without names and issuer if it does not count now, or not for a server."""

    validity: Validity
    names: tuple[str, ...] = ()
    issuer: str = ""

    def __str__(self) -> str:
        names = ", ".join(self.names[:SHOWN]) + (" …" if len(self.names) > SHOWN else "")
        issuer = f"signed by {self.issuer}" if self.issuer else ""
        return "; ".join(filter(None, (names, issuer))) or "what it shows"


def shown(host: str, port: int, name: str, ours: PemFiles, limit_s: float) -> Shown:
    """What is shown at a port to somebody who asks for a name. It is not verified.

    Raises OSError if nobody speaks TLS there, ValueError for what is no certificate.
    """
    anybody = _context(ours)
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    with _handshake(anybody, host, port, name, limit_s) as tls:
        der = tls.getpeercert(binary_form=True) or b""
    validity = of_der(der)
    # Python tells what is in a verified certificate only: this one is made to vouch for itself.
    itself = _context(ours)
    itself.check_hostname = False
    itself.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    itself.load_verify_locations(cadata=der)
    try:
        with _handshake(itself, host, port, name, limit_s) as tls:
            found: dict[str, Any] = tls.getpeercert() or {}
    except ssl.SSLError:
        return Shown(validity)
    names = tuple(str(name) for kind, name in found.get("subjectAltName", ()))
    issuer = ", ".join(str(value) for part in found.get("issuer", ()) for _, value in part)
    return Shown(validity, names, issuer)


def _context(ours: PemFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    if ours.certificate and ours.key:
        context.load_cert_chain(ours.certificate, ours.key, password="")
    return context


def _handshake(
    context: ssl.SSLContext, host: str, port: int, name: str, limit_s: float
) -> ssl.SSLSocket:
    plain = socket.create_connection((host, port), limit_s)
    try:
        return context.wrap_socket(plain, server_hostname=name)
    except BaseException:
        plain.close()
        raise
