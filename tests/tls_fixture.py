"""Certificates of a real CA, in files that a test may replace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gpuledger_agent.dial import Dialer, Trust
from gpuledger_agent.pem import PemFiles
from tests.scripted_collector import ScriptedCollector

COLLECTOR = ("localhost", "127.0.0.1")
KEY = ec.generate_private_key(ec.SECP256R1())


class Certificates:
    """A CA, and the files of each side."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = trustme.CA()
        folder.mkdir(exist_ok=True)

    def files(
        self,
        side: str,
        *names: str,
        until: datetime | None = None,
        cn: str | None = None,
        ca: Sequence[trustme.CA] = (),
    ) -> PemFiles:
        """Issue a certificate for these names; write it, its key and the CA to files of a side."""
        spiffe = [name for name in names if name.startswith("spiffe:")]
        if spiffe:
            chain, private = _of_workload(self.ca, spiffe[0], cn)
        else:
            made = self.ca.issue_cert(*names, common_name=cn, not_after=until)
            chain = b"".join(each.bytes() for each in made.cert_chain_pems)
            private = made.private_key_pem.bytes()
        key = replaced(self._folder / f"{side}.key", private)
        trusted = self.trusting(side, *ca).ca
        return PemFiles(replaced(self._folder / f"{side}.pem", chain), key, trusted)

    def trusting(self, side: str, *others: trustme.CA) -> PemFiles:
        """Let a side trust the CA, or others; it shows no certificate."""
        pem = b"".join(ca.cert_pem.bytes() for ca in others or (self.ca,))
        return PemFiles(ca=replaced(self._folder / f"{side}-ca.pem", pem))


def _of_workload(ca: trustme.CA, spiffe: str, cn: str | None) -> tuple[bytes, bytes]:
    """A certificate with a SPIFFE id, which trustme does not make, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    signer = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    names = [x509.NameAttribute(NameOID.COMMON_NAME, cn)] if cn else []
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe)]), critical=True
        )
        .sign(signer, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return made.public_bytes(serialization.Encoding.PEM), private


def self_signed(begins: datetime, ends: datetime, name: str = "h1") -> x509.Certificate:
    """A certificate of these dates."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .sign(KEY, hashes.SHA256())
    )


def ending_in(*days: float) -> bytes:
    """A file of certificates of a year, by when they end."""
    ends = [datetime.now(UTC) + timedelta(days=each) for each in days]
    made = [self_signed(end - timedelta(days=365), end) for end in ends]
    return b"a remark\n".join(one.public_bytes(serialization.Encoding.PEM) for one in made)


def replaced(path: Path, text: bytes) -> Path:
    """Put another file in its place, as certificate managers do."""
    new = path.with_suffix(".new")
    new.write_bytes(text)
    return new.replace(path)


def server_credentials(files: PemFiles, *, mutual: bool = True) -> grpc.ServerCredentials:
    """Of a server with a certificate that asks for one of its CA in return."""
    assert files.certificate
    assert files.key
    assert files.ca
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    return grpc.ssl_server_credentials([pair], files.ca.read_bytes() if mutual else None, mutual)


def dialer(files: PemFiles, server_name: str = "") -> Dialer:
    return Dialer(Trust(files, server_name))


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "tls")


@pytest.fixture
def mutual(certificates: Certificates) -> Iterator[ScriptedCollector]:
    """A collector that lets in whom the CA knows."""
    with ScriptedCollector(
        credentials=server_credentials(certificates.files("collector", *COLLECTOR))
    ) as listening:
        yield listening
