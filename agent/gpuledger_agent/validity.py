"""From when until when certificates count, and from when on another one is overdue.

Python's `ssl` tells the dates of CAs that were loaded and of peers that were verified, not of our
own certificate, nor of one that is refused: so they are read here (RFC 5280, section 4.1).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime

DAY_S = 86_400.0

SOON_S = 14 * DAY_S
SOON_PART = 0.05
"""Another one is overdue so long before the end, or in this last part of a short life: what renews
certificates does so after half or two thirds of it (SPIFFE, cert-manager), Vault's agent when 7 to
13 % are left (`goodFor` in consul-template's `dependency/vault_pki.go`)."""

# Up to the next dash only: a file of beginnings that never end would be read once for each.
_PEM = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----([^-]*)-----END (?:X509 |TRUSTED )?CERTIFICATE"
)
_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18


@dataclass(frozen=True, slots=True)
class Validity:
    """Of one certificate, or of a file of them; UTC seconds since the epoch."""

    begins: float
    ends: float

    @property
    def due(self) -> float:
        """From when on another one should have been here."""
        return max(self.ends - SOON_S, self.ends - SOON_PART * (self.ends - self.begins))


def of_chain(pem: bytes) -> Validity | None:
    """Of a certificate and what vouches for it: it counts while all of them do.

    None without a certificate whose dates can be read.
    """
    return min(_all(pem), key=lambda one: one.ends, default=None)


def of_authorities(pem: bytes) -> Validity | None:
    """Of CAs: somebody is believed from the first on, while one of them counts. None likewise.

    One that is to follow may be there before it counts. What an old CA signed before it was
    replaced by another in the file ends before it does, and is told of by whoever shows it.
    """
    if not (found := _all(pem)):
        return None
    return Validity(min(one.begins for one in found), max(one.ends for one in found))


def of_der(der: bytes) -> Validity:
    """Of a certificate in DER. Raises ValueError if it is none."""
    try:
        return _dates(der)
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError("not a certificate in DER") from error


def _all(pem: bytes) -> list[Validity]:
    found = []
    for body in _PEM.findall(pem):
        try:
            found.append(of_der(base64.b64decode(body)))
        except ValueError:
            continue  # OpenSSL and gRPC judge it when it is used
    return found


def _dates(der: bytes) -> Validity:
    _, certificate, _ = _element(der, 0)
    _, at, _ = _element(der, certificate)
    tag, _, after = _element(der, at)
    if tag == _VERSION:
        _, _, after = _element(der, after)
    for _field in ("signature", "issuer"):
        _, _, after = _element(der, after)
    _, first, _ = _element(der, after)
    begins, after = _time(der, first)
    ends, _ = _time(der, after)
    return Validity(begins, ends)


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag of the element at this offset, where its content begins, and where the element ends."""
    tag, length, begins = der[at], der[at + 1], at + 2
    if length & 0x80:
        octets = length & 0x7F
        length = int.from_bytes(der[begins : begins + octets])
        begins += octets
    if begins + length > len(der):
        raise ValueError("an element ends beyond the certificate")
    return tag, begins, begins + length


def _time(der: bytes, at: int) -> tuple[float, int]:
    """The time in the element at this offset, and where that ends."""
    tag, begins, ends = _element(der, at)
    text = der[begins:ends].decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("not a time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp(), ends
