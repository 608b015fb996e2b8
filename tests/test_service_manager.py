"""What systemd is told, on a real socket: readiness, life, the end; and by whom not."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest

from gpuledger_agent.service_manager import BEAT_S, ServiceManager
from gpuledger_collector.store.client import StoreConfig
from tests.nvml_standin.world import Standin

BIN = Path(sys.executable).parent


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.environ = {"NOTIFY_SOCKET": address}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(60)

    def hears(self) -> dict[str, str]:
        """The next message."""
        lines = self._socket.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def has_mail(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    file = str(tmp_path / "notify")
    address = file if request.param == "file" else f"@gpuledger-{os.getpid()}-{tmp_path.name}"
    listening = Manager(address)
    yield listening
    listening.close()


def test_alive_when_a_manager_listens_then_it_hears_readiness_life_and_status(
    manager: Manager,
) -> None:
    ServiceManager(manager.environ).alive("8 GPUs\nREADY=0")
    heard = manager.hears()
    assert heard == {"READY": "1", "WATCHDOG": "1", "STATUS": "8 GPUs\\nREADY=0"}


def test_alive_when_called_again_at_once_then_nothing_is_said_twice(manager: Manager) -> None:
    daemon = ServiceManager(manager.environ)
    daemon.alive("one")
    daemon.alive("two")
    assert manager.hears()["STATUS"] == "one"
    assert not manager.has_mail()


def test_alive_when_the_manager_reads_nothing_then_nobody_waits(manager: Manager) -> None:
    eager = ServiceManager(manager.environ | {"WATCHDOG_USEC": "1"})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as flood:
        address = manager.address
        flood.connect("\0" + address[1:] if address.startswith("@") else address)
        with pytest.raises(BlockingIOError):
            all(flood.send(b"STATUS=flood") for _ in repeat(None))
    eager.alive("lost")
    assert manager.hears()["STATUS"] == "flood"


def test_alive_when_the_manager_is_gone_then_one_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "1"})
    daemon.alive("one")
    daemon.stopping()
    assert caplog.text.count("event=service_manager_deaf") == 1


@pytest.mark.parametrize(
    ("environ", "beat_s"),
    [
        ({}, BEAT_S),
        ({"WATCHDOG_USEC": "600000000"}, BEAT_S),
        ({"WATCHDOG_USEC": "3000000"}, 1.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, BEAT_S),
        ({"WATCHDOG_USEC": "0"}, BEAT_S),
        ({"WATCHDOG_USEC": "soon"}, BEAT_S),
    ],
)
def test_beat_when_a_watchdog_is_meant_for_us_then_it_is_a_third_of_its_patience(
    environ: dict[str, str], beat_s: float
) -> None:
    assert ServiceManager(environ).beat_s == beat_s


def test_agent_when_a_gpu_hangs_and_no_collector_is_there_then_it_is_ready_and_stays_alive(
    standin: Standin, tmp_path: Path
) -> None:
    standin.raw.gpus = 2
    standin.raw.gpu[1].hang = 1
    manager = Manager(str(tmp_path / "notify"))
    command = [str(BIN / "gpuledger-agent"), "run", "--collector", "127.0.0.1:1", "--window", "1",
               "--tick", "0.25", "--metrics", "", "--health", "",
               "--spool", str(tmp_path / "spool.sqlite")]  # fmt: skip
    env = {k: v for k, v in standin.env.items() if k != "GPULEDGER_STANDIN_PRELOADED"}
    env |= manager.environ | {"WATCHDOG_USEC": "300000"}
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as agent:
        try:
            assert manager.hears()["READY"] == "1"
            said = ""
            while "1 of 2 GPUs read" not in said:
                said = manager.hears()["STATUS"]
            assert said.endswith("collector away, windows wait")
            for _ in range(10):
                assert manager.hears()["WATCHDOG"] == "1"
            agent.send_signal(signal.SIGTERM)
            while "STOPPING" not in (last := manager.hears()):
                assert last["WATCHDOG"] == "1"
        finally:
            agent.kill()
    manager.close()


def test_collector_when_its_port_is_open_then_it_is_ready_and_says_how_it_fares(
    database: StoreConfig, tmp_path: Path
) -> None:
    manager = Manager(str(tmp_path / "notify"))
    command = [str(BIN / "gpuledger"), "serve", "--clickhouse-url", database.url, "--database",
               database.database, "--username", database.username, "--listen", "127.0.0.1:0",
               "--metrics", ""]  # fmt: skip
    password = tmp_path / "password"
    password.write_text(database.password)
    command += ["--password-file", str(password)]
    with subprocess.Popen(
        command, env=os.environ | manager.environ, stderr=subprocess.DEVNULL
    ) as collector:
        try:
            first = manager.hears()
            assert (first["READY"], first["WATCHDOG"]) == ("1", "1")
            port, store = first["STATUS"].removeprefix("port ").split(" is open; ")
            assert store == "ClickHouse takes inserts"
            socket.create_connection(("127.0.0.1", int(port)), 10).close()
            collector.send_signal(signal.SIGTERM)
            while "STOPPING" not in manager.hears():
                pass
            assert collector.wait(30) == 0
        finally:
            collector.kill()
    manager.close()
