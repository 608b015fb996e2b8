"""How the agent speaks with collectors: TLS or plaintext, and what it shows them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from gpuledger_agent import bearer
from gpuledger_agent.pem import Dated, Pem, PemFiles, follow

LOOK_S = 5.0
"""How often an open channel is compared with the files it was made of."""


_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 1 << 20),
    ("grpc.enable_retries", 0),
)


@dataclass(frozen=True, slots=True)
class Trust:
    """Settings of it.

    `tls` None is plaintext; `server_name` is what collectors' certificates must name, "" for the
    host in the address. `token` is the file of what they want instead of a certificate of ours.
    """

    tls: PemFiles | None = None
    server_name: str = ""
    token: Path | None = None


class Dialer:
    """Opens channels with what the files hold at that time. Raises FileRefused when made."""

    def __init__(self, trust: Trust) -> None:
        self._tls = follow(trust.tls) if trust.tls else None
        self._token = bearer.follow(trust.token) if trust.token else None
        self._dialed = self._held()
        self._options: list[tuple[str, Any]] = []
        if trust.server_name:
            self._options = [("grpc.ssl_target_name_override", trust.server_name)]
        self._looked_at = time.monotonic()

    def channel(self, address: str) -> grpc.Channel:
        """A channel to HOST:PORT, of the caller's to close."""
        self._dialed = self._held()
        pem = self._dialed[0]
        if pem is None:
            return grpc.insecure_channel(address, options=_OPTIONS)
        credentials = grpc.ssl_channel_credentials(pem.ca, pem.key or None, pem.certificate or None)
        # A connection of its own: another one may have been made with other files.
        options = [*_OPTIONS, *self._options, ("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(address, credentials, options=options)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes along with a call on the last channel."""
        token = self._dialed[1]
        return (("authorization", f"Bearer {token}"),) if token else ()

    def dates(self) -> tuple[Dated, ...]:
        """Of the certificates in use, as far as files were looked at. Any thread may ask."""
        return self._tls.value.dates if self._tls else ()

    def outdated(self) -> bool:
        """Whether the last channel was made of files that were replaced, as far as looked at."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return False
        self._looked_at = now
        return self._held() != self._dialed

    def _held(self) -> tuple[Pem | None, str | None]:
        """What the files hold now, or held while they were good."""
        for files in (self._tls, self._token):
            if files is not None:
                files.refresh()
        tls, token = self._tls, self._token
        return (tls.value if tls else None, token.value if token else None)


def reason(error: grpc.RpcError) -> str:
    """Why a call failed, in one line."""
    # What grpc raises on the client is a Call too, which its stubs cannot express.
    call: Any = error
    try:
        return f"{call.code().name}: {call.details()}"
    except AttributeError:
        return str(error)
