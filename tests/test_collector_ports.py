"""The collector's port for Prometheus under connections without end."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from urllib.request import urlopen

import pytest

from gpuledger_agent import metrics_server
from gpuledger_agent.metrics_server import MAX_CONNECTIONS
from gpuledger_collector.listening import ServeError
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.store.client import StoreConfig
from tests.collector_fixture import settings_for
from tests.test_agent_ports import connected, hung_up
from tests.uplink_fixture import free_port
from tests.waiting import wait_until


def answering() -> int:
    """Threads that are there for one connection."""
    return sum("process_request" in thread.name for thread in threading.enumerate())


def page(address: str) -> str:
    with urlopen(f"http://{address}/metrics") as answer:
        return answer.read().decode()


def test_metrics_when_connections_say_nothing_then_few_are_kept_and_not_for_long(
    database: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = free_port()
    port = int(address.rpartition(":")[2])
    monkeypatch.setattr(metrics_server, "CONNECTION_S", 3600.0)
    with CollectorThread(replace(settings_for(database), metrics=address)):
        with connected(port, MAX_CONNECTIONS + 2) as silent:
            assert [hung_up(one) for one in silent[MAX_CONNECTIONS:]] == [True, True]
            assert answering() == MAX_CONNECTIONS
            monkeypatch.setattr(metrics_server, "CONNECTION_S", 0.0)
            assert all(hung_up(one) for one in silent)
        monkeypatch.undo()
        wait_until(lambda: answering() == 0)
        assert "gpuledger_collector_store_up 1.0" in page(address)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_metrics_when_their_port_is_taken_then_one_line_says_so(database: StoreConfig) -> None:
    address = free_port()
    settings = replace(settings_for(database), metrics=address)
    with CollectorThread(settings), pytest.raises(ServeError) as refused:
        CollectorThread(settings).start()
    assert str(refused.value) == (
        f"the collector's metrics on {address}: Address already in use; choose another port"
    )
