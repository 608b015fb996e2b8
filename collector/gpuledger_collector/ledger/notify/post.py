"""POST of JSON, once: no redirects, no proxies, no retries, a bounded answer."""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from gpuledger_collector.ledger.notify.dial import LIMIT_S, dialed
from gpuledger_collector.ledger.notify.fault import SendError

ANSWER_BYTES = 16_384
"""Read of an answer at most."""

MAX_RETRY_AFTER_S = 3600.0

OF_MESSAGE = (400, 413, 415, 422)
"""Answers that object to what was sent, not to who sent it."""

_WORD = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True)
class Address:
    """A URL in its parts. The path may be a secret: only `origin` may be shown."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port, as the Host header wants them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme == "https" else 80
        return host if self.port == usual else f"{host}:{self.port}"

    def __repr__(self) -> str:
        """Without the path."""
        return f"Address({self.origin})"


def parse(url: str) -> Address:
    """The parts of a URL. Raises ValueError, whose text does not show the URL."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("holds spaces or more than ASCII")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("names no host") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError("begins with neither http:// nor https://")
    if parts.username is not None or parts.fragment:
        raise ValueError("holds a user name or a fragment")
    if not parts.hostname:
        raise ValueError("names no host")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError("names no port between 1 and 65535") from error
    if port == 0:
        raise ValueError("names no port between 1 and 65535")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    default = 443 if parts.scheme == "https" else 80
    return Address(parts.scheme, parts.hostname, port or default, path)


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """What checks a server's certificate: by this file, or as the system does. Raises SendError."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SendError("secret", f"{ca_file}: holds no certificates that can be read") from error


def post(
    address: Address,
    body: bytes,
    headers: Mapping[str, str],
    *,
    ca_file: Path | None = None,
    limit_s: float = LIMIT_S,
) -> None:
    """Send, and return if the answer is 2xx. Raises SendError."""
    tls = tls_context(ca_file) if address.scheme == "https" else None
    with dialed(address.host, address.port, tls, limit_s) as sock:
        connection = http.client.HTTPConnection(address.host, address.port)
        connection.sock = sock
        try:
            connection.request("POST", address.path, body, _headers(address, headers))
            with connection.getresponse() as answer:
                taken = 200 <= answer.status < 300
                said = b"" if taken else _said(answer)
        except http.client.RemoteDisconnected:
            raise
        except (http.client.HTTPException, ValueError):
            # Without its cause, which may show the path.
            raise SendError("answer", f"{address.origin}: answers no HTTP") from None
    if not taken:
        raise _refusal(address, answer, said)


def _headers(address: Address, headers: Mapping[str, str]) -> dict[str, str]:
    return {
        "Host": address.authority,
        "User-Agent": f"gpuledger/{version('gpuledger')}",
        "Content-Type": "application/json",
        "Connection": "close",
        **headers,
    }


def _said(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(ANSWER_BYTES)
    except (OSError, http.client.HTTPException):
        return b""


def _refusal(address: Address, answer: http.client.HTTPResponse, said: bytes) -> SendError:
    status = answer.status
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    reason = f"{address.origin}: answers {status}{phrase}"
    if 300 <= status < 400:
        reason += "; redirects are not followed, write the final URL"
    # An answer may repeat a secret; a single word like invalid_payload cannot be one.
    word = said.decode("latin-1").strip()
    if _WORD.fullmatch(word):
        reason += f" ({word})"
    return SendError(
        f"status_{status}",
        reason,
        of_message=status in OF_MESSAGE,
        retry_after_s=_retry_after(answer.headers.get("Retry-After", ""), answer),
    )


def _retry_after(text: str, answer: http.client.HTTPResponse) -> float:
    """Seconds: written as such, or as a date, which counts from the answer's own."""
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(text)
        since = parsedate_to_datetime(answer.headers.get("Date", ""))
        return min(max((until - since).total_seconds(), 0.0), MAX_RETRY_AFTER_S)
    except (TypeError, ValueError):
        return 0.0
