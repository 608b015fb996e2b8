"""Certificates and keys, as gRPC takes them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from gpuledger_agent.followed import FileRefused, Followed, read_small


@dataclass(frozen=True, slots=True)
class PemFiles:
    """Where they are: our certificate and its key, and the CAs that the other side's needs."""

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Pem:
    """What the files hold; b"" where there is none."""

    certificate: bytes
    key: bytes = field(repr=False)
    ca: bytes


def follow(files: PemFiles) -> Followed[Pem]:
    """The files, read now and when they are replaced. Raises FileRefused."""
    paths = [path for path in (files.certificate, files.key, files.ca) if path]
    return Followed("tls", paths, lambda: load(files))


def load(files: PemFiles) -> Pem:
    """Read them. Raises FileRefused for what gRPC would refuse much later without saying why."""
    pem = Pem(*(read_small(p) if p else b"" for p in (files.certificate, files.key, files.ca)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    named = f"{files.certificate} and {files.key}"
    try:
        if files.certificate and files.key:
            # An empty password: a key that needs one is refused, instead of asked for.
            context.load_cert_chain(files.certificate, files.key, password="")
        if files.ca:
            named = str(files.ca)
            context.load_verify_locations(files.ca)
    except ssl.SSLError as error:
        reason = (error.reason or "not PEM").replace("_", " ").lower()
        raise FileRefused(f"{named}: {reason}; give PEM files that belong together") from error
    except OSError as error:
        raise FileRefused(f"{named}: {error.strerror}; name files that can be read") from error
    return pem
