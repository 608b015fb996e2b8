"""The embedded ClickHouse under its keeper: what the kernel ends comes back."""

from __future__ import annotations

import logging
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import pytest

from gpuledger_collector.store.client import StoreError, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.keeper import Keeper
from tests.waiting import wait_until


def answers(server: EmbeddedServer) -> bool:
    try:
        with connect(replace(server.store, database="default")) as client:
            return bool(client.command("SELECT 1"))
    except StoreError:
        return False


def count_starts(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """A list that grows by one each time it is started."""
    begun: list[None] = []
    restart = server.restart

    def counted() -> None:
        begun.append(None)
        restart()

    monkeypatch.setattr(server, "restart", counted)
    return begun


def test_keeper_when_the_server_is_killed_then_it_is_back_with_its_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with EmbeddedServer(tmp_path / "store") as server, Keeper(server):
        with connect(replace(server.store, database="books"), create_database=True) as client:
            client.command("CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n")
            client.insert("t", [(7,)], column_names=["n"])
        url, killed = server.url, server.pid
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: server.pid not in {0, killed} and answers(server))
        assert server.url == url
        with connect(replace(server.store, url=url, database="books")) as client:
            assert client.command("SELECT sum(n) FROM t") == 7
        wait_until(lambda: "event=store_started" in caplog.text)
    assert "event=store_ended exit_code=-9" in caplog.text
    assert not server.alive


def test_keeper_when_it_cannot_start_it_then_it_says_so_once_and_goes_on_trying(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("gpuledger_collector.store.keeper.LOOK_S", 0.01)
    home, elsewhere = tmp_path / "store" / "server", tmp_path / "elsewhere"
    with EmbeddedServer(tmp_path / "store") as server:
        begun = count_starts(server, monkeypatch)
        home.rename(elsewhere)
        home.write_text("in its place")
        os.kill(server.pid, signal.SIGKILL)
        with Keeper(server):
            wait_until(lambda: len(begun) >= 3)
            with pytest.raises(OSError, match="Address already in use"):
                socket.create_server(("127.0.0.1", int(server.url.rpartition(":")[2])))
            home.unlink()
            elsewhere.rename(home)
            wait_until(lambda: answers(server))
            wait_until(lambda: "event=store_started" in caplog.text)
    assert caplog.text.count("event=store_not_started reason=") == 1
    assert f"{home}: File exists" in caplog.text


def test_keeper_when_a_stranger_makes_the_server_stop_listening_then_it_listens_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuledger_collector.store.keeper.LOOK_S", 0.01)
    with EmbeddedServer(tmp_path / "store") as server:
        child = server.pid
        urlopen(server.url, b"SYSTEM STOP LISTEN HTTP").close()
        wait_until(lambda: not server.listens)
        with Keeper(server):
            wait_until(lambda: server.pid not in {0, child} and answers(server))
    assert caplog.text.count("event=store_listens_no_more") == 1
