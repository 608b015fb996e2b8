"""A certificate authority in a directory, for those who have no other."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gpuledger_collector import whole_file

CA_FILE, KEY_FILE = "ca.pem", "ca.key"

SKEW = timedelta(hours=1)
"""Certificates count from a little earlier on, since clocks of hosts differ."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


class AuthorityError(Exception):
    """It cannot be done; says why and what to do in one line."""


@dataclass(frozen=True, slots=True)
class Issued:
    """Files of a certificate and its key, and until when it counts."""

    certificate: Path
    key: Path
    until: datetime


def init(folder: Path, days: int) -> Issued:
    """Make a CA. Raises AuthorityError, if there is one already, too."""
    for path in (folder / CA_FILE, folder / KEY_FILE):
        if path.exists():
            raise AuthorityError(f"{path} exists: take another directory for another CA")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gpuledger CA")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = _dated(days).subject_name(name).issuer_name(name).public_key(key.public_key())
    made = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return _written(made, key, folder / CA_FILE, folder / KEY_FILE)


def issue(folder: Path, names: Sequence[str], out: Path, days: int, *, collector: bool) -> Issued:
    """Make a certificate of these names, for files in `out` called after the first.

    That of an agent is good for agents alone, and a collector's for collectors. Files of an
    earlier one are replaced. Raises AuthorityError.
    """
    ca, signer = _opened(folder)
    builder = _dated(days)
    alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
    until = datetime.now(UTC) + timedelta(days=days)
    if until > ca.not_valid_after_utc:
        raise AuthorityError(
            f"{folder / CA_FILE} ends {ca.not_valid_after_utc:%Y-%m-%d}, before the certificate"
            " would: take fewer --days, or make another CA"
        )
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if collector else ExtendedKeyUsageOID.CLIENT_AUTH
    key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    made = (
        builder.subject_name(x509.Name([]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .add_extension(alternatives, critical=True)  # since there is no other name
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(authority, critical=False)
        .sign(signer, hashes.SHA256())
    )
    out.mkdir(parents=True, exist_ok=True)
    return _written(made, key, out / f"{names[0]}.pem", out / f"{names[0]}.key")


def _dated(days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not _NAME.fullmatch(name):
        raise AuthorityError(f"{name!r} is no name of a host: give a DNS name or an IP address")
    return x509.DNSName(name)


def _opened(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        ca = x509.load_pem_x509_certificate((folder / CA_FILE).read_bytes())
        key = serialization.load_pem_private_key((folder / KEY_FILE).read_bytes(), None)
    except OSError as error:
        raise AuthorityError(
            f"{error.filename}: {error.strerror}; make a CA first (gpuledger ca init)"
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise AuthorityError(f"{folder}: {CA_FILE} or {KEY_FILE} is not as it was made") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != ca.public_key():
        raise AuthorityError(f"{folder}: {KEY_FILE} is not the key of {CA_FILE}")
    return ca, key


def _written(
    made: x509.Certificate, key: ec.EllipticCurvePrivateKey, certificate_file: Path, key_file: Path
) -> Issued:
    encoding = serialization.Encoding.PEM
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    whole_file.write(key_file, key.private_bytes(encoding, form, plain), 0o600)
    whole_file.write(certificate_file, made.public_bytes(encoding), 0o644)
    certificate_file.chmod(0o644)  # for everybody, whatever our umask
    return Issued(certificate_file, key_file, made.not_valid_after_utc)
