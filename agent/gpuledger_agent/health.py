"""grpc.health.v1 of the agent, for probes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

DRIVER = "gpuledger.agent.driver"
"""SERVING while the driver answers."""

COLLECTOR = "gpuledger.agent.collector"
"""SERVING while a collector has welcomed the agent."""


_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 1024),
    # Whoever reaches the port could else hold all of the agent's file descriptors.
    ("grpc.max_allowed_incoming_connections", 64),
    ("grpc.server_handshake_timeout_ms", 2_000),
    ("grpc.max_connection_idle_ms", 10_000),
    ("grpc.max_connection_age_ms", 60_000),
)


class HealthServer:
    """Answers health checks on one address.

    The agent as a whole ("") is SERVING as long as it runs: a host without driver or network is
    reported, not restarted. The two services above say the rest. Raises OSError if the address
    cannot be bound.
    """

    def __init__(self, address: str) -> None:
        self._servicer = health.HealthServicer(experimental_non_blocking=True)
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=2, thread_name_prefix="health"),
            options=_OPTIONS,
            maximum_concurrent_rpcs=16,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, self._server)
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}") from error
        self._servicer.set("", health_pb2.HealthCheckResponse.SERVING)

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()

    def report(self, *, driver: bool, collector: bool) -> None:
        """What works at present."""
        self._servicer.set(DRIVER, _status(driver))
        self._servicer.set(COLLECTOR, _status(collector))

    def stop(self) -> None:
        """Stop answering."""
        self._servicer.enter_graceful_shutdown()
        self._server.stop(grace=0.5).wait()


def _status(works: bool) -> health_pb2.HealthCheckResponse.ServingStatus.ValueType:
    response = health_pb2.HealthCheckResponse
    return response.SERVING if works else response.NOT_SERVING
