"""Whether collectors can be reached, as an agent would reach them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gpuledger_agent import check_certificates
from gpuledger_agent.check_result import Check, Verdict
from gpuledger_agent.config import host_port
from gpuledger_agent.dial import Dialer, Trust, reason
from gpuledger_agent.followed import FileRefused
from gpuledger_agent.pem import PemFiles
from gpuledger_agent.shown import shown
from gpuledger_proto.v1 import telemetry_pb2 as wire
from gpuledger_proto.v1.telemetry_pb2_grpc import TelemetryStub

REACH_S = 5.0
"""How long a collector may take to answer."""

_UNLIKE = "one side speaks TLS, or wants a certificate, the other not (docs/security.md)"
_SILENT = "is TCP let through to it, and does it answer there?"
_UNKNOWN = "is the name right, and does this host's DNS know it?"

_REMEDIES = {
    "Hostname Verification": "name it as its certificate does, or give --tls-server-name",
    "UNAUTHENTICATED": "give the agent a token of the collector's file (docs/security.md)",
    "certificate has expired": "renew the collector's certificate; is this host's clock right?",
    "certificate is not yet valid": "is this host's clock right, and the collector's?",
    "CERTIFICATE_VERIFY_FAILED": "--tls-ca is not the CA that signed its certificate",
    "WRONG_VERSION_NUMBER": "it speaks no TLS there: is it the right port?",
    "Socket closed": _UNLIKE,
    "Broken pipe": _UNLIKE,
    "errors resolving": _UNKNOWN,
    "DNS resolution failed": _UNKNOWN,
    "Connection refused": "start it (gpuledger serve), or name another (--collector)",
    "DEADLINE_EXCEEDED": _SILENT,
    "No route to host": _SILENT,
}
"""What helps, by what gRPC says; the first that fits."""

_OTHERWISE = "see the collector's log, and whether it runs (docs/security.md)"


def collectors(trust: Trust, addresses: Sequence[str]) -> Iterator[Check]:
    """Checks of what we show and of each collector; or of the files without which none is asked."""
    try:
        dialer = Dialer(trust)
    except FileRefused as refused:
        yield Check(
            Verdict.FAIL, "credentials", str(refused), "the agent does not start without them"
        )
        return
    yield from check_certificates.own(dialer.dates(), time.time())
    for address in addresses:
        yield _collector(dialer, address)
        if trust.tls:
            yield from _shown(trust.tls, trust.server_name, address)


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
    return next((remedy for said, remedy in _REMEDIES.items() if said in why), _OTHERWISE)


def _shown(ours: PemFiles, name: str, address: str) -> Iterator[Check]:
    """A check of the certificate at an address, of this name if any; none if none is shown."""
    host, port = host_port(address)
    try:
        found = shown(host, port, name or host, ours, REACH_S)
    except (OSError, ValueError):
        return  # what gRPC said of it stands above
    subject, todo = f"certificate of {address}", "renew it there (docs/security.md)"
    yield check_certificates.judged(subject, str(found), found.validity, todo, time.time())
