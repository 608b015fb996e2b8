"""What the collector tells over HTTP: metrics, whether it turns, whether it can do its job."""

from __future__ import annotations

import time
from collections.abc import Callable

from gpuledger_agent.config import host_port
from gpuledger_agent.metrics_server import Health, MetricsServer
from gpuledger_agent.pulse import LoopPulse
from gpuledger_collector.listening import ServeError
from gpuledger_collector.metrics import Metrics

STUCK_S = 30.0
"""An event loop that has not turned for so long does not come back; it turns every second."""


class Pulse(LoopPulse):
    """When the event loop last turned, and whether agents may come. Any thread may ask."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__("the event loop", STUCK_S, now)
        self.serving = False
        """The port is open, the schema ours, and nobody has told us to end."""

    def alive(self) -> Health:
        """Whether the loop turns and all threads live; asked of nobody who ends, within limits."""
        return super().alive() if self.serving else Health(True, "alive")


def ready(pulse: Pulse, store_up: bool) -> Health:
    """Whether agents should come here; what grpc.health.v1 says, and why."""
    if not pulse.serving:
        return Health(False, "it begins, or has been told to end")
    if not store_up:
        return Health(False, "ClickHouse takes no inserts: the log says why (event=store_fails)")
    return Health(True, "ready: agents may come, ClickHouse takes inserts")


def serve_pages(
    address: str, metrics: Metrics, pulse: Pulse, store_up: Callable[[], bool]
) -> MetricsServer | None:
    """Answer at HOST:PORT, in a thread; None if that is "". Raises ServeError."""
    if not address:
        return None
    host, port = host_port(address)
    probes = {"/healthz": pulse.alive, "/readyz": lambda: ready(pulse, store_up())}
    try:
        server = MetricsServer(host, port, metrics.registry, probes)
    except OSError as error:
        raise ServeError(
            f"the collector's metrics on {host}:{port}: {error.strerror}; choose another port"
        ) from error
    server.start()
    return server
