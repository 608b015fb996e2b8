"""The embedded ClickHouse: what it survives, and what it says when it cannot start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import gpuledger_collector
from gpuledger_collector.store.client import StoreConfig, StoreError, connect
from gpuledger_collector.store.embedded import EmbeddedServer


def test_server_when_killed_after_an_insert_then_the_rows_are_there_again(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "store")
    server.start()
    try:
        with connect(replace(server.store, database="books"), create_database=True) as client:
            client.command("CREATE TABLE t (n UInt32) ENGINE = MergeTree ORDER BY n")
            client.insert("t", [(n,) for n in range(1000)], column_names=["n"])
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        server.start()
        with connect(replace(server.store, database="books")) as client:
            assert client.query("SELECT count(), sum(n) FROM t").result_rows == [(1000, 499500)]
    finally:
        server.stop()


def test_server_when_its_directory_is_in_use_then_one_line_says_so(
    clickhouse_server: EmbeddedServer,
) -> None:
    second = EmbeddedServer(clickhouse_server._data_dir)
    with pytest.raises(StoreError, match="in use by another gpuledger") as refused:
        second.start()
    assert "\n" not in str(refused.value)


def test_server_when_its_port_is_taken_then_one_line_says_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StoreError, match=f"port {port} is taken"):
            EmbeddedServer(tmp_path / "store", port).start()


def test_server_when_its_directory_cannot_be_made_then_one_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="name a directory that can be written"):
        EmbeddedServer(tmp_path / "file" / "store").start()


def test_server_when_started_in_a_strangers_directory_then_nothing_of_it_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "subprocess.py").write_text("raise SystemExit('the stranger was run')")
    monkeypatch.setenv("PYTHONPATH", str(Path(gpuledger_collector.__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    with EmbeddedServer(tmp_path / "store") as server:
        assert server.alive


_PARENT = """
import sys, time
from pathlib import Path
from gpuledger_collector.store.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


def test_server_when_its_parent_is_killed_then_it_ends_too(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path / "store")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _runs(child)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 30
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(child)


def test_server_when_it_runs_then_only_this_host_reaches_it(
    clickhouse_server: EmbeddedServer,
) -> None:
    port = int(clickhouse_server.url.rsplit(":", 1)[1])
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    addresses = {line.split()[1] for line in listening if line.split()[3] == "0A"}
    assert {a for a in addresses if a.endswith(f":{port:04X}")} == {f"0100007F:{port:04X}"}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://x", "is no ClickHouse URL"),
        ("http://", "is no ClickHouse URL"),
        ("http://h:abc", "is no ClickHouse URL"),
        ("http://127.0.0.1:1", "refused"),
    ],
)
def test_connect_when_it_cannot_be_then_one_line_says_why(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as refused:
        connect(StoreConfig(url))
    assert "\n" not in str(refused.value)


def test_connect_when_the_database_is_missing_or_password_wrong_then_one_line_says_so(
    clickhouse_server: EmbeddedServer,
) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        connect(StoreConfig(clickhouse_server.url, "nowhere"))
    with pytest.raises(StoreError, match=r"(?i)authentication|password"):
        connect(StoreConfig(clickhouse_server.url, "default", "nobody", "wrong"))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
