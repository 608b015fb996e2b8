"""The agent's own ports under connections without end: they cost little, and answers go on."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry, Gauge

from gpuledger_agent import metrics_server
from gpuledger_agent.health import HealthServer
from gpuledger_agent.metrics_server import MAX_CONNECTIONS, MetricsServer
from tests.waiting import wait_until

FLOOD = 200

GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a client of HTTP/2 begins."""


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    registry = CollectorRegistry()
    Gauge("answer", "to all", registry=registry).set(42)
    with MetricsServer("127.0.0.1", 0, registry) as made:
        made.start()
        yield made
        made.shutdown()


@contextmanager
def connected(port: int, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that say nothing."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=8))
            for _ in range(count)
        ]


def hung_up(connection: socket.socket) -> bool:
    """Whether the other side has hung up, or does so before long."""
    try:
        while connection.recv(4096):
            pass  # a greeting
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def descriptors() -> int:
    """Files that this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def page(server: MetricsServer) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as answer:
        return answer.read().decode()


def test_metrics_when_asked_then_they_are_told_and_nothing_is_logged(
    server: MetricsServer, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "answer 42.0" in page(server)
    assert capfd.readouterr().err == ""


def test_metrics_when_connections_say_nothing_then_few_are_kept_and_not_for_long(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = threading.active_count()
    monkeypatch.setattr(metrics_server, "CONNECTION_S", 3600.0)
    with connected(server.server_port, MAX_CONNECTIONS + 2) as silent:
        assert [hung_up(one) for one in silent[MAX_CONNECTIONS:]] == [True, True]
        assert threading.active_count() <= threads + MAX_CONNECTIONS
        monkeypatch.setattr(metrics_server, "CONNECTION_S", 0.0)
        assert all(hung_up(one) for one in silent)
    monkeypatch.undo()
    wait_until(lambda: threading.active_count() <= threads)
    assert "answer 42.0" in page(server)


def test_metrics_when_a_connection_drips_then_it_ends_nevertheless(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timeout for each read would never come."""
    monkeypatch.setattr(metrics_server, "CONNECTION_S", 0.5)
    with connected(server.server_port, 1) as [dripping]:

        def refused() -> bool:
            try:
                dripping.sendall(b"x")
            except ConnectionError:
                return True
            return False

        wait_until(refused)


def test_metrics_when_the_address_is_of_ipv6_then_they_are_told_there() -> None:
    try:
        made = MetricsServer("::1", 0, CollectorRegistry())
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    with made:
        assert made.address_family == socket.AF_INET6


def test_health_when_connections_say_nothing_then_few_are_kept_and_not_for_long() -> None:
    server = HealthServer("127.0.0.1:0")
    server.start()
    try:
        before = descriptors()
        with connected(server.port, FLOOD) as silent:
            assert all(hung_up(one) for one in silent)
        with connected(server.port, FLOOD) as greeting:
            for one in greeting:
                with suppress(ConnectionError):
                    one.sendall(GREETING)
            # Idle ones are let go of after ten seconds, which this does not wait for.
            wait_until(lambda: descriptors() <= before + FLOOD + 80, 5)
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            asked = health_pb2.HealthCheckRequest()
            answer = health_pb2_grpc.HealthStub(channel).Check(
                asked, timeout=20, wait_for_ready=True
            )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    finally:
        server.stop()
