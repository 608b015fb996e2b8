"""Who may file usage, and for which host."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from gpuledger_collector.identity import hosts
from gpuledger_proto.v1 import telemetry_pb2 as wire

Context = grpc.aio.ServicerContext[bytes, wire.CollectorMessage]

SHOWN = 100
"""Characters of names that a refusal repeats."""


class AccessRefused(Exception):  # noqa: N818  # a decision, not an accident
    """The stream is to be ended with this code and reason."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Access:
    """What a stream has to show. `own_certificate`: one that names the host it speaks for."""

    own_certificate: bool = False

    def check_host(self, context: Context, host: str) -> None:
        """Raise AccessRefused if the peer may not speak for this host."""
        if not self.own_certificate:
            return
        proven = hosts(context.auth_context())
        if host not in proven:
            named = ", ".join(sorted(proven))[:SHOWN] or "no host"
            raise AccessRefused(
                grpc.StatusCode.PERMISSION_DENIED,
                f"the agent speaks for host {host!r} with a certificate of {named}: give it that"
                " name (--host), or a certificate of its own",
            )
