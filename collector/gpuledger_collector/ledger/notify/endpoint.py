"""An HTTP endpoint as the notify file describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gpuledger_agent.config import is_loopback
from gpuledger_collector.ledger.notify import secret
from gpuledger_collector.ledger.notify.fault import SendError
from gpuledger_collector.ledger.notify.post import Address, parse, post, tls_context
from gpuledger_collector.ledger.notify.table import Table


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to POST. One of `address` and `url_file` is None: a URL that is secret is in a file.

    `suffix` is appended to the URL's path.
    """

    address: Address | None
    url_file: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    suffix: str = ""

    @classmethod
    def read(cls, table: Table, *, secret_url: bool = False, suffix: str = "") -> Endpoint:
        """From a receiver's table. `secret_url`: the URL must be in a file."""
        url = "" if secret_url else table.text("url")
        file = table.optional_file("url_file")
        if bool(url) == bool(file):
            one = "url_file" if secret_url else "url or url_file, one of them"
            table.fault("url_file" if secret_url else "url", f"is missing; write {one}")
        token = None if secret_url else table.optional_file("bearer_token_file")
        ca_file = table.optional_file("ca_file")
        return cls(_address(url, table), file, token, ca_file, suffix)

    def check(self) -> None:
        """Raise SendError if a file that sending needs cannot be used."""
        self._where()
        self._token()
        if self.ca_file:
            tls_context(self.ca_file)

    def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """POST a JSON body. Raises SendError."""
        post(self._where(), body, {**headers, **self._token()}, ca_file=self.ca_file)

    def _where(self) -> Address:
        address = self.address
        if address is None:
            address = self._from_file()
        if (self.token_file or self.url_file) and not _private(address):
            raise SendError("secret", f"{address.origin}: would send a secret in clear; use https")
        path = address.path.rstrip("/") + self.suffix if self.suffix else address.path
        return Address(address.scheme, address.host, address.port, path)

    def _from_file(self) -> Address:
        if self.url_file is None:
            raise SendError("secret", "no URL was given")
        try:
            return parse(secret.read(self.url_file))
        except ValueError as error:
            raise SendError("secret", f"{self.url_file}: the URL {error}") from None

    def _token(self) -> dict[str, str]:
        if self.token_file is None:
            return {}
        return {"Authorization": f"Bearer {secret.read(self.token_file)}"}


def _address(url: str, table: Table) -> Address | None:
    if not url:
        return None
    try:
        address = parse(url)
    except ValueError as error:
        table.fault("url", f"{error}; write https://HOST/PATH")
        return None
    if "?" in address.path:
        table.fault("url", "has a query, which may hold a secret; write the URL into a url_file")
    return address


def _private(address: Address) -> bool:
    return address.scheme == "https" or is_loopback(address.host)
