"""Certificates of a real CA, in files that a test may replace."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import grpc
import pytest
import trustme

from gpuledger_agent.dial import Dialer, Trust
from gpuledger_agent.pem import PemFiles

COLLECTOR = ("localhost", "127.0.0.1")


class Certificates:
    """A CA, and the files of each side."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = trustme.CA()
        folder.mkdir(exist_ok=True)

    def files(
        self, side: str, *names: str, until: datetime | None = None, cn: str | None = None
    ) -> PemFiles:
        """Issue a certificate for these names; write it, its key and the CA to files of a side."""
        made = self.ca.issue_cert(*names, common_name=cn, not_after=until)
        chain = b"".join(each.bytes() for each in made.cert_chain_pems)
        key = replaced(self._folder / f"{side}.key", made.private_key_pem.bytes())
        ca = self.trusting(side).ca
        return PemFiles(replaced(self._folder / f"{side}.pem", chain), key, ca)

    def trusting(self, side: str, *others: trustme.CA) -> PemFiles:
        """Let a side trust the CA, or others; it shows no certificate."""
        pem = b"".join(ca.cert_pem.bytes() for ca in others or (self.ca,))
        return PemFiles(ca=replaced(self._folder / f"{side}-ca.pem", pem))


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
