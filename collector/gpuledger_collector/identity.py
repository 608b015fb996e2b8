"""Which host a client's certificate is of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

AuthContext = Mapping[str, Iterable[bytes]]
"""What gRPC knows of a peer that it has verified."""


def hosts(peer: AuthContext) -> frozenset[str]:
    """Names of hosts that the peer's certificate proves.

    These are its DNS names and the end of the path of its SPIFFE id; for a certificate that has
    neither, its common name. Wildcards are names like any other, which no host has.
    """
    found = _values(peer, "peer_dns")
    for spiffe in _values(peer, "peer_spiffe_id"):
        _, _, path = spiffe.removeprefix("spiffe://").partition("/")
        found.add(path.rpartition("/")[2])
    return frozenset((found or _values(peer, "x509_common_name")) - {""})


def _values(peer: AuthContext, name: str) -> set[str]:
    return {value.decode("utf-8", "backslashreplace") for value in peer.get(name, ())}
