"""Certificates and keys, as gRPC takes them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gpuledger_agent.followed import FileRefused, Followed, read_small
from gpuledger_agent.validity import Validity, of_authorities, of_chain


@dataclass(frozen=True, slots=True)
class PemFiles:
    """Where they are: our certificate and its key, and the CAs that the other side's needs."""

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Dated:
    """A file of certificates and from when until when it counts; None if that cannot be read.

    `role` is "own" for ours, "ca" for those of the other side's CA.
    """

    role: str
    file: Path
    validity: Validity | None


@dataclass(frozen=True, slots=True)
class Pem:
    """What the files hold; b"" where there is none."""

    certificate: bytes
    key: bytes = field(repr=False)
    ca: bytes
    dates: tuple[Dated, ...]


def follow(files: PemFiles) -> Followed[Pem]:
    """The files, read now and when they are replaced. Raises FileRefused."""
    paths = [path for path in (files.certificate, files.key, files.ca) if path]
    return Followed("tls", paths, lambda: load(files))


def load(files: PemFiles) -> Pem:
    """Read them. Raises FileRefused for what gRPC would refuse much later without saying why."""
    certificate, key, ca = (
        read_small(path) if path else b"" for path in (files.certificate, files.key, files.ca)
    )
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
    return Pem(certificate, key, ca, tuple(_dated(files, certificate, ca)))


def _dated(files: PemFiles, certificate: bytes, ca: bytes) -> Iterator[Dated]:
    if files.certificate:
        yield Dated("own", files.certificate, of_chain(certificate))
    if files.ca:
        yield Dated("ca", files.ca, of_authorities(ca))
