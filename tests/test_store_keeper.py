"""The embedded ClickHouse under its keeper: what the kernel ends comes back."""

from __future__ import annotations

import logging
import os
import signal
import socket
from pathlib import Path

import pytest

from gpuledger_collector.store.client import StoreConfig, StoreError, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.keeper import Keeper
from tests.waiting import wait_until


def answers(server: EmbeddedServer) -> bool:
    try:
        with connect(StoreConfig(server.url, "default")) as client:
            return bool(client.command("SELECT 1"))
    except StoreError:
        return False


def count_starts(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """A list that grows by one each time it is started."""
    begun: list[None] = []
    start = server.start

    def counted() -> None:
        begun.append(None)
        start()

    monkeypatch.setattr(server, "start", counted)
    return begun


def test_keeper_when_the_server_is_killed_then_it_is_back_with_its_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with EmbeddedServer(tmp_path / "store") as server, Keeper(server):
        with connect(StoreConfig(server.url, "books"), create_database=True) as client:
            client.command("CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n")
            client.insert("t", [(7,)], column_names=["n"])
        url, killed = server.url, server.pid
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: server.pid not in {0, killed} and answers(server))
        assert server.url == url
        with connect(StoreConfig(url, "books")) as client:
            assert client.command("SELECT sum(n) FROM t") == 7
        wait_until(lambda: "event=store_started" in caplog.text)
    assert "event=store_ended exit_code=-9" in caplog.text
    assert not server.alive


def test_keeper_when_it_cannot_start_it_then_it_says_so_once_and_goes_on_trying(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("gpuledger_collector.store.keeper.LOOK_S", 0.01)
    with EmbeddedServer(tmp_path / "store") as server, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server._port = taken.getsockname()[1]
        begun = count_starts(server, monkeypatch)
        os.kill(server.pid, signal.SIGKILL)
        with Keeper(server):
            wait_until(lambda: len(begun) >= 3)
            taken.close()
            wait_until(lambda: answers(server))
            wait_until(lambda: "event=store_started" in caplog.text)
    assert caplog.text.count("event=store_not_started reason=") == 1
    assert "is taken: choose another" in caplog.text
