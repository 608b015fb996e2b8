"""The bad network itself: a harness that does no damage proves nothing."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Self

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import OperationalError

from gpuledger_collector.store.client import StoreConfig, connect
from tests.faults.proxy import Network, Proxy, proxied
from tests.waiting import wait_until


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as running:
        yield running


@pytest.fixture
def store_proxy(database: StoreConfig) -> Iterator[Proxy]:
    """Between the tests and ClickHouse."""
    with proxied(database.url) as proxy:
        yield proxy


class Echo(socketserver.ThreadingTCPServer):
    """A server that says everything back; `heard` is what it was told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Repeat)
        self.heard = b""
        self.address = f"127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,)).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Repeat(socketserver.BaseRequestHandler):
    server: Echo

    def handle(self) -> None:
        with suppress(OSError):
            while data := self.request.recv(4096):
                self.server.heard += data
                self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as running:
        yield running


@pytest.fixture
def proxy(network: Network, echo: Echo) -> Iterator[Proxy]:
    started = Proxy(network, echo.address)
    started.start()
    yield started
    started.cut()


def dial(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=20)


def test_proxy_when_all_is_well_then_everything_passes_both_ways(proxy: Proxy) -> None:
    with dial(proxy) as peer:
        peer.sendall(b"x" * 300_000)
        heard = b""
        while len(heard) < 300_000:
            heard += peer.recv(65_536)
        assert heard == b"x" * 300_000


def test_proxy_when_cut_then_connections_are_reset_and_new_ones_work(proxy: Proxy) -> None:
    with dial(proxy) as peer:
        peer.sendall(b"one")
        assert peer.recv(10) == b"one"
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            peer.recv(10)
    with dial(proxy) as peer:
        peer.sendall(b"two")
        assert peer.recv(10) == b"two"


def test_proxy_when_a_black_hole_then_nothing_passes_until_it_is_over(
    proxy: Proxy, echo: Echo
) -> None:
    with dial(proxy) as peer:
        peer.sendall(b"one")
        assert peer.recv(10) == b"one"
        proxy.weather.hole = True
        peer.sendall(b"two")
        peer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.recv(10)
        assert echo.heard == b"one"
        proxy.clear()
        peer.settimeout(20)
        assert peer.recv(10) == b"two"


def test_proxy_when_mute_then_questions_pass_and_answers_do_not(proxy: Proxy, echo: Echo) -> None:
    with dial(proxy) as peer:
        proxy.weather.mute = True
        peer.sendall(b"one")
        wait_until(lambda: echo.heard == b"one")
        peer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.recv(10)


def test_proxy_when_its_upstream_changes_then_new_connections_go_there(proxy: Proxy) -> None:
    with Echo() as other:
        proxy.upstream = other.address
        with dial(proxy) as peer:
            peer.sendall(b"one")
            assert peer.recv(10) == b"one"
        assert other.heard == b"one"


def test_answer_when_swallowed_then_the_insert_is_committed_and_the_client_does_not_know(
    database: StoreConfig, client: Client, store_proxy: Proxy
) -> None:
    client.command("CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n")
    with connect(replace(database, url=store_proxy.url)) as through:
        # clickhouse-connect sends an insert once more by itself.
        store_proxy.weather.swallow = 2
        with pytest.raises(OperationalError):
            through.insert("t", [(1,)], column_names=["n"])
        assert store_proxy.swallowed == 2
        assert client.query("SELECT count() FROM t").result_rows == [(2,)]
        through.insert("t", [(2,)], column_names=["n"])
    assert client.query("SELECT count() FROM t").result_rows == [(3,)]
