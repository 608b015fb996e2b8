"""A thread that dies of what nobody foresaw: probes, metrics and systemd learn of it.

So do those who read the log; and a daemon that is told to end is not held to be ill for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpuledger_agent.config import AgentConfig
from gpuledger_agent.daemon import Daemon
from gpuledger_agent.devices.nvml import NvmlLayer
from gpuledger_agent.driver import Driver
from gpuledger_agent.expiry import ExpiryWatch
from gpuledger_agent.metrics_server import Health
from gpuledger_agent.pulse import LoopPulse
from gpuledger_agent.service_manager import ServiceManager
from gpuledger_agent.stream import Uplink
from gpuledger_agent.vital_thread import VitalThread
from gpuledger_collector import serve
from gpuledger_collector.ledger.findings import Schedule
from gpuledger_collector.ledger.notify import config as notify_config
from gpuledger_collector.ledger.notify.notifier import Notifier
from gpuledger_collector.ledger.rules import built_in
from gpuledger_collector.listening import Tls
from gpuledger_collector.rollup import Rollup
from gpuledger_collector.serve import Collector, CollectorSettings, CollectorThread
from gpuledger_collector.store.client import StoreConfig
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.keeper import Keeper
from gpuledger_collector.window_age import WindowAge
from gpuledger_collector.writer import Writer
from tests.collector_fixture import settings_for
from tests.nvml_standin.world import Standin
from tests.test_probes import asked
from tests.test_service_manager import Manager
from tests.tls_fixture import COLLECTOR, Certificates
from tests.uplink_fixture import free_port
from tests.waiting import wait_until

NOTIFY = """
[default]
receivers = ["ops"]
[receiver.ops]
type = "alertmanager"
url = "http://127.0.0.1:1"
"""


class Fault:
    """Ends what is called, once it is told to."""

    def __init__(self) -> None:
        self.struck = threading.Event()

    def __call__(self, *_: Any, **__: Any) -> None:
        self.struck.wait()
        raise RuntimeError("nobody foresaw this")


@pytest.fixture
def fault() -> Iterator[Fault]:
    made = Fault()
    yield made
    made.struck.set()


def mails(manager: Manager) -> list[dict[str, str]]:
    """What has come and was not read."""
    found = []
    while manager.has_mail():
        found.append(manager.hears())
    return found


@pytest.fixture
def all_chores(
    database: StoreConfig, certificates: Certificates, tmp_path: Path
) -> CollectorSettings:
    """Settings of a collector that has something to do for each thread."""
    files = certificates.files("collector", *COLLECTOR)
    assert files.certificate
    assert files.key
    (tmp_path / "notify.toml").write_text(NOTIFY)
    return replace(
        settings_for(database),
        metrics=free_port(),
        tls=Tls(files.certificate, files.key),
        rules=built_in(),
        notify=notify_config.load(tmp_path / "notify.toml"),
    )


@contextmanager
def managed(settings: CollectorSettings, manager: Manager) -> Iterator[Collector]:
    """A collector in a thread, with a service manager that is impatient."""
    environ = manager.environ | {"WATCHDOG_USEC": "3000"}
    made: list[Collector] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        made.append(Collector(settings))
        await made[0].run(ready, ServiceManager(environ))

    def in_thread() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=in_thread)
    thread.start()
    assert ready.wait(60)
    try:
        yield made[0]
    finally:
        loop.call_soon_threadsafe(made[0].stop)
        thread.join()


@pytest.mark.parametrize(
    ("thread", "works"),
    [
        ("rollup", (Rollup, "run")),
        ("findings", (Schedule, "run")),
        ("notify", (Notifier, "run")),
        ("retention", (WindowAge, "follow")),
        ("certificates", (ExpiryWatch, "look")),
    ],
)
def test_collector_when_a_thread_dies_then_probes_and_metrics_say_which_and_systemd_hears_no_more(
    all_chores: CollectorSettings,
    fault: Fault,
    tmp_path: Path,
    thread: str,
    works: tuple[type, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(*works, fault)
    monkeypatch.setattr(serve, "HEALTH_S", 0.02)
    manager = Manager(str(tmp_path / "notify"))
    address = all_chores.metrics
    with managed(all_chores, manager) as collector:
        assert manager.hears()["WATCHDOG"] == manager.hears()["WATCHDOG"] == "1"
        assert asked(address, "/healthz") == (200, "alive\n")
        assert "gpuledger_collector_stuck 0.0" in asked(address, "/metrics")[1]
        fault.struck.set()
        wait_until(lambda: asked(address, "/healthz")[0] == 503)
        assert asked(address, "/healthz")[1].startswith(f"thread {thread} has ended: the log says")
        assert "gpuledger_collector_stuck 1.0" in asked(address, "/metrics")[1]
        assert f"event=thread_ended thread={thread}" in caplog.text
        assert "RuntimeError: nobody foresaw this" in caplog.text
        turned(collector)
        mails(manager)
        turned(collector)
        assert mails(manager) == []
    assert [mail.get("STOPPING") for mail in mails(manager)] == ["1"]
    manager.close()


def turned(collector: Collector) -> None:
    """Wait until the loop has turned, twice so that one turn began and ended."""
    for _ in range(2):
        before = collector._pulse._turned
        wait_until(lambda then=before: collector._pulse._turned > then)  # type: ignore[misc]


def test_collector_when_the_writer_dies_then_it_ends_as_a_whole_and_says_why(
    database: StoreConfig, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    fault.struck.set()
    monkeypatch.setattr(Writer, "_commit", fault)
    monkeypatch.setattr(serve.Admission, "gather", gathered_nothing)
    monkeypatch.setattr(serve.Admission, "take", lambda *_: [])
    collector = CollectorThread(settings_for(database))
    collector.start()
    collector._thread.join(60)
    assert isinstance(collector._error, RuntimeError)


async def gathered_nothing(*_: object) -> None:
    """As if a message had come."""


def test_collector_when_what_keeps_clickhouse_up_dies_then_it_says_so(
    database: StoreConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(Keeper, "_run", fault)
    settings = replace(settings_for(database), metrics=free_port())
    with (
        Keeper(EmbeddedServer(tmp_path)) as keeper,
        CollectorThread(settings, [keeper.thread]),
    ):
        assert asked(settings.metrics, "/healthz") == (200, "alive\n")
        fault.struck.set()
        wait_until(
            lambda: "thread store-keeper has ended" in asked(settings.metrics, "/healthz")[1]
        )


@pytest.mark.parametrize(
    ("thread", "works"), [("driver", (Driver, "run")), ("uplink", (Uplink, "run"))]
)
def test_agent_when_a_thread_dies_then_it_is_not_alive_and_systemd_hears_no_more(
    standin: Standin,
    fault: Fault,
    tmp_path: Path,
    thread: str,
    works: tuple[type, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standin.raw.gpus = 1
    monkeypatch.setattr(*works, fault)
    config = AgentConfig(
        host="h1", sources=(), scrape=False, spool=None, window_s=1, tick_s=0.25,
        collectors=("127.0.0.1:1",), metrics_listen=free_port(), health_listen="",
    )  # fmt: skip
    manager = Manager(str(tmp_path / "notify"))
    told = ServiceManager(manager.environ | {"WATCHDOG_USEC": "30000"})
    daemon, stop = Daemon(config, NvmlLayer()), threading.Event()
    running = threading.Thread(target=daemon.run, args=(stop, told))
    running.start()
    try:
        assert manager.hears()["WATCHDOG"] == manager.hears()["WATCHDOG"] == "1"
        fault.struck.set()
        wait_until(lambda: asked(config.metrics_listen, "/healthz")[0] == 503)
        assert f"thread {thread} has ended" in asked(config.metrics_listen, "/healthz")[1]
        assert "gpuledger_agent_stuck 1.0" in asked(config.metrics_listen, "/metrics")[1]
        for _ in range(2):
            mails(manager)
            before = daemon.pulse._turned
            wait_until(lambda then=before: daemon.pulse._turned > then)  # type: ignore[misc]
        assert mails(manager) == []
    finally:
        stop.set()
        running.join()
    assert manager.hears()["STOPPING"] == "1"
    manager.close()


def test_thread_when_it_returns_or_is_watched_no_more_then_only_the_first_is_an_end() -> None:
    pulse = LoopPulse("the loop", 10)
    thread = VitalThread("chore", lambda: None)
    thread.start()
    thread.join()
    pulse.watch([thread])
    why = "thread chore has ended: the log says why (event=thread_ended)"
    assert pulse.alive() == Health(False, why)
    pulse.watch(())
    assert pulse.alive().well
