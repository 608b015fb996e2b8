"""What probes are told over HTTP: whether a daemon turns, and whether it can do its job."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pynvml
import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry

from gpuledger_agent import metrics
from gpuledger_agent.config import AgentConfig
from gpuledger_agent.daemon import Daemon
from gpuledger_agent.devices.nvml import NvmlLayer
from gpuledger_agent.metrics_server import Health, MetricsServer
from gpuledger_agent.readiness import PATIENCE_S
from gpuledger_agent.readiness import Pulse as AgentPulse
from gpuledger_collector import writer
from gpuledger_collector.pages import STUCK_S
from gpuledger_collector.pages import Pulse as CollectorPulse
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.store.client import StoreConfig
from tests.collector_fixture import WireAgent, batch, settings_for
from tests.nvml_standin.world import Standin
from tests.small_disk import small_disk
from tests.uplink_fixture import free_port
from tests.waiting import wait_until


class HandClock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def asked(address: str, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://{address}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@contextmanager
def page(health: Health) -> Iterator[str]:
    probes = {"/readyz": lambda: health}
    with MetricsServer("127.0.0.1", 0, CollectorRegistry(), probes) as server:
        server.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def running(layer: NvmlLayer, spool: Path | None) -> Iterator[tuple[Daemon, str]]:
    """An agent with windows of a second, whose collector is away."""
    config = AgentConfig(
        host="node-1", sources=(), scrape=False, spool=spool, window_s=1, tick_s=0.25,
        collectors=("127.0.0.1:1",), metrics_listen="", health_listen="",
    )  # fmt: skip
    daemon, stop = Daemon(config, layer), threading.Event()
    pages = metrics.serve(daemon, "127.0.0.1", 0)
    thread = threading.Thread(target=daemon.run, args=(stop,))
    thread.start()
    try:
        yield daemon, f"127.0.0.1:{pages.server_port}"
    finally:
        stop.set()
        thread.join()
        pages.shutdown()
        pages.server_close()


def test_probe_when_all_is_well_then_200_and_one_line() -> None:
    with page(Health(True, "ready")) as address:
        assert asked(address, "/readyz") == (200, "ready\n")
        assert asked(address, "/readyz?from=kubelet") == (200, "ready\n")
        assert asked(address, "/readyz", "HEAD") == (200, "")


def test_probe_when_something_is_wrong_then_503_and_why() -> None:
    with page(Health(False, "no disk")) as address:
        assert asked(address, "/readyz") == (503, "no disk\n")
        assert asked(address, "/readyz", "HEAD") == (503, "")


def test_probe_when_it_is_posted_to_then_it_is_refused_as_metrics_refuse_it() -> None:
    with page(Health(True, "ready")) as address:
        assert asked(address, "/readyz", "POST")[0] == asked(address, "/", "POST")[0] == 405


def test_agent_when_it_measures_and_the_collector_is_away_then_it_is_ready_and_says_so(
    standin: Standin, tmp_path: Path
) -> None:
    standin.raw.gpus = 2
    with running(NvmlLayer(), tmp_path / "spool.sqlite") as (daemon, address):
        wait_until(lambda: asked(address, "/readyz")[0] == 200)
        wait_until(lambda: daemon.spool.state().batches > 0)
        code, line = asked(address, "/readyz")
        assert code == 200
        assert "2 of 2 GPUs read" in line
        assert "collector away, windows wait" in line
        assert asked(address, "/healthz") == (200, "alive\n")
        assert "gpuledger_agent_driver_up 1.0" in asked(address, "/metrics")[1]


def test_agent_when_there_is_no_driver_then_it_lives_and_is_not_ready(
    standin: Standin, tmp_path: Path
) -> None:
    standin.raw.init_error = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    with running(NvmlLayer(), tmp_path / "spool.sqlite") as (_, address):
        assert asked(address, "/healthz") == (200, "alive\n")
        assert asked(address, "/readyz") == (
            503,
            "the driver does not answer: see gpuledger-agent check\n",
        )


def test_agent_when_the_spool_takes_nothing_then_it_is_not_ready_until_it_does(
    standin: Standin, tmp_path: Path
) -> None:
    standin.raw.gpus = 1
    with (
        small_disk(tmp_path / "disk", 2) as disk,
        running(NvmlLayer(), disk.path / "spool.sqlite") as (_, address),
    ):
        wait_until(lambda: asked(address, "/readyz")[0] == 200)
        disk.fill()
        wait_until(lambda: "spool cannot be written" in asked(address, "/readyz")[1])
        assert asked(address, "/readyz")[0] == 503
        assert asked(address, "/healthz")[0] == 200
        disk.free()
        wait_until(lambda: asked(address, "/readyz")[0] == 200)


def test_agent_when_no_gpu_closes_windows_then_it_is_not_ready_until_one_does(
    standin: Standin, tmp_path: Path
) -> None:
    """As when every call hangs in the driver: the loop turns, and measures nothing."""
    standin.raw.gpus = 1
    with running(NvmlLayer(), tmp_path / "spool.sqlite") as (daemon, address):
        wait_until(lambda: asked(address, "/readyz")[0] == 200)
        clock = HandClock()
        daemon.pulse = AgentPulse(1, clock)
        daemon.pulse.measured()
        assert asked(address, "/readyz")[0] == 200
        standin.raw.gpu[0].hang = 1

        def silent() -> bool:
            clock.now += PATIENCE_S + 1  # again and again: windows may still be on their way
            return "no GPU has closed a window for" in asked(address, "/readyz")[1]

        wait_until(silent)
        standin.raw.gpu[0].hang = 0
        wait_until(lambda: asked(address, "/readyz")[0] == 200)


def test_agent_when_a_window_is_late_then_three_are_waited_for() -> None:
    clock = HandClock()
    pulse = AgentPulse(60, clock)
    assert pulse.unmeasured() == "no GPU has closed a window yet"
    pulse.measured()
    clock.now = 180
    assert pulse.unmeasured() == ""
    clock.now = 181
    assert pulse.unmeasured() == "no GPU has closed a window for 181 s"


@pytest.mark.parametrize(("window_s", "patience_s"), [(1, PATIENCE_S), (10, PATIENCE_S), (60, 180)])
def test_agent_when_its_loop_is_stuck_for_three_windows_then_it_is_not_alive(
    window_s: int, patience_s: float
) -> None:
    clock = HandClock()
    pulse = AgentPulse(window_s, clock)
    clock.now = patience_s
    assert pulse.alive().well
    clock.now = patience_s + 1
    assert not pulse.alive().well
    assert f"stuck for {patience_s + 1:.0f} s" in pulse.alive().line
    pulse.turned()
    assert pulse.alive().well


def test_collector_when_the_store_fails_then_it_lives_and_is_ready_when_the_store_works_again(
    database: StoreConfig, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_MAX_S", 0.2)
    address = free_port()
    with (
        CollectorThread(replace(settings_for(database), metrics=address)) as collector,
        WireAgent(collector.address) as agent,
    ):
        ready = (200, "ready: agents may come, ClickHouse takes inserts\n")
        assert asked(address, "/readyz") == ready
        client.command("RENAME TABLE gpu_usage_raw TO away")
        agent.send(batch())
        wait_until(lambda: asked(address, "/readyz")[0] == 503)
        assert "ClickHouse takes no inserts" in asked(address, "/readyz")[1]
        assert asked(address, "/healthz") == (200, "alive\n")
        client.command("RENAME TABLE away TO gpu_usage_raw")
        assert agent.acks(1) == [1]
        assert asked(address, "/readyz") == ready


def test_collector_when_it_has_been_told_to_end_then_it_lives_and_is_not_ready(
    database: StoreConfig, client: Client
) -> None:
    """Held back by a write that cannot be made, it drains for seconds: nobody new should come."""
    address = free_port()
    collector = CollectorThread(replace(settings_for(database), metrics=address))
    with WireAgent((collector.start(), collector.address)[1]) as agent:
        client.command("RENAME TABLE gpu_usage_raw TO away")
        agent.send(batch())
        wait_until(lambda: "takes no inserts" in asked(address, "/readyz")[1])
        ending = threading.Thread(target=collector.stop)
        ending.start()
        wait_until(lambda: "told to end" in asked(address, "/readyz")[1])
        assert asked(address, "/readyz")[0] == 503
        assert asked(address, "/healthz")[0] == 200
        client.command("RENAME TABLE away TO gpu_usage_raw")
        ending.join()


def test_collector_when_its_loop_is_stuck_then_it_is_not_alive_but_ending_takes_its_time() -> None:
    clock = HandClock()
    pulse = CollectorPulse(clock)
    pulse.serving = True
    clock.now = STUCK_S
    assert pulse.alive().well
    clock.now = STUCK_S + 1
    assert pulse.alive() == Health(False, "the event loop is stuck for 31 s")
    pulse.serving = False
    assert pulse.alive().well


def test_agent_when_its_loop_goes_on_then_it_is_alive_again(
    standin: Standin, tmp_path: Path
) -> None:
    standin.raw.gpus = 1
    with running(NvmlLayer(), tmp_path / "spool.sqlite") as (daemon, address):
        daemon.pulse._turned -= 1000
        wait_until(lambda: asked(address, "/healthz")[0] == 200)


def test_collector_when_its_loop_goes_on_then_it_is_alive_again(database: StoreConfig) -> None:
    address = free_port()
    with CollectorThread(replace(settings_for(database), metrics=address)) as collector:
        assert collector._collector is not None
        collector._collector._pulse._turned -= 1000
        wait_until(lambda: asked(address, "/healthz")[0] == 200)
