"""Whether collectors can be reached, as the agent would reach them."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gpuledger_agent.check_result import Check, Verdict
from gpuledger_agent.config import AgentConfig
from gpuledger_agent.dial import Dialer, reason
from gpuledger_agent.followed import FileRefused
from gpuledger_proto.v1 import telemetry_pb2 as wire
from gpuledger_proto.v1.telemetry_pb2_grpc import TelemetryStub

REACH_S = 5.0
"""How long a collector may take to answer."""


def collectors(config: AgentConfig) -> Iterator[Check]:
    """One check of each, or of the files without which none can be asked."""
    try:
        dialer = Dialer(config.trust)
    except FileRefused as refused:
        yield Check(
            Verdict.FAIL, "credentials", str(refused), "the agent does not start without them"
        )
        return
    for address in config.collectors:
        yield _collector(dialer, address)


def _collector(dialer: Dialer, address: str) -> Check:
    subject = f"collector {address}"
    with dialer.channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=REACH_S
            )
            _let_in(channel, dialer)
        except grpc.RpcError as error:
            why = reason(error)
            return Check(Verdict.FAIL, subject, why, _remedy(why))
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        return Check(Verdict.FAIL, subject, "reachable, but not serving", "see the collector's log")
    return Check(Verdict.OK, subject, "reachable and serving")


def _let_in(channel: grpc.Channel, dialer: Dialer) -> None:
    """Begin to speak, and say nothing. Raises grpc.RpcError if that is refused."""
    silence: Iterator[wire.AgentMessage] = iter(())
    stream = TelemetryStub(channel).Stream(silence, metadata=dialer.metadata(), timeout=REACH_S)
    for _ in stream:
        pass


def _remedy(why: str) -> str:
    if why.startswith("UNAUTHENTICATED"):
        return "give the agent a token of the collector's file (docs/security.md)"
    if "CERTIFICATE_VERIFY_FAILED" in why or "Hostname Verification" in why:
        return "compare its certificate with --tls-ca, its names and its dates (docs/security.md)"
    if "Socket closed" in why or "WRONG_VERSION_NUMBER" in why:
        return "one side speaks TLS, or wants a certificate, the other not (docs/security.md)"
    return "start it (gpuledger serve), or name another (--collector)"
