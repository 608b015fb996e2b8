"""Who may file usage, and for which host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

from gpuledger_agent.followed import FileRefused, Followed
from gpuledger_collector import tokens
from gpuledger_collector.identity import hosts
from gpuledger_collector.listening import ServeError, Tls
from gpuledger_collector.tokens import Token
from gpuledger_proto.v1 import telemetry_pb2 as wire

Context = grpc.aio.ServicerContext[bytes, wire.CollectorMessage]

SHOWN = 100
"""Characters of names that a refusal repeats."""


class AccessRefused(Exception):  # noqa: N818  # a decision, not an accident
    """The stream is to be ended with this code and reason."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def access_for(tls: Tls | None, token_file: Path | None) -> Access:
    """What these settings demand. Raises ServeError if the file cannot be read."""
    own = tls is not None and tls.mutual and not tls.any_host
    try:
        return Access(own, tokens.follow(token_file) if token_file else None)
    except FileRefused as refused:
        raise ServeError(f"--token-file {refused}") from refused


@dataclass(frozen=True, slots=True)
class Access:
    """What a stream has to show: a certificate that names its host, a token, both or neither."""

    own_certificate: bool = False
    tokens: Followed[tuple[Token, ...]] | None = None

    def check(self, context: Context) -> None:
        """Raise AccessRefused if nothing that the peer says is to be heard."""
        if self.tokens is not None and not self._shown(self.tokens, context):
            raise AccessRefused(
                grpc.StatusCode.UNAUTHENTICATED,
                "the agent's token is none that is known here: give it one (--token-file)",
            )

    def check_host(self, context: Context, host: str) -> None:
        """Raise AccessRefused if the peer may not speak for this host."""
        if self.tokens is not None and not tokens.covers(self._shown(self.tokens, context), host):
            raise AccessRefused(
                grpc.StatusCode.PERMISSION_DENIED,
                f"the agent's token is not for host {host!r}: give it one that is (--token-file)",
            )
        if self.own_certificate:
            _check_named(context, host)

    @staticmethod
    def _shown(known: Followed[tuple[Token, ...]], context: Context) -> list[Token]:
        known.refresh()
        for key, value in context.invocation_metadata() or ():
            scheme, _, token = str(value).partition(" ")
            if key == "authorization" and scheme.lower() == "bearer":
                return tokens.matching(known.value, token)
        return []


def _check_named(context: Context, host: str) -> None:
    proven = hosts(context.auth_context())
    if host not in proven:
        named = ", ".join(sorted(proven))[:SHOWN] or "no host"
        raise AccessRefused(
            grpc.StatusCode.PERMISSION_DENIED,
            f"the agent speaks for host {host!r} with a certificate of {named}: give it that name"
            " (--host), or a certificate of its own",
        )
