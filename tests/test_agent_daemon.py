"""The real agent, as a process, on the NVML stand-in, up to the rows in ClickHouse."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pynvml
import pytest
from clickhouse_connect.driver.client import Client
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gpuledger_agent import __version__
from gpuledger_agent.health import COLLECTOR, DRIVER
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.store.client import StoreConfig
from tests.collector_fixture import settings_for
from tests.nvml_standin.world import Standin
from tests.uplink_fixture import free_port

AGENT = Path(sys.executable).parent / "gpuledger-agent"


def wait_until(condition: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.05)


@contextmanager
def worker(**environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that a GPU can be held by."""
    with subprocess.Popen(["sleep", "120"], env=os.environ | environment) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def agent(
    standin: Standin, tmp_path: Path, collector: str, *flags: str
) -> Iterator[subprocess.Popen[str]]:
    """`gpuledger-agent run` with windows of 1 s."""
    env = {k: v for k, v in standin.env.items() if k != "GPULEDGER_STANDIN_PRELOADED"}
    command = [str(AGENT), "run", "--collector", collector, "--host", "node-1", "--pool",
               "production", "--window", "1", "--tick", "0.25", "--metrics", "", "--health", "",
               "--spool", str(tmp_path / "spool" / "spool.sqlite"), *flags]  # fmt: skip
    with (tmp_path / "agent.log").open("a") as log:
        process = subprocess.Popen(command, env=env, stderr=log, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def log_of(tmp_path: Path) -> str:
    return (tmp_path / "agent.log").read_text()


def one(client: Client, sql: str) -> object:
    return client.query(sql).result_rows[0][0]


def test_agent_when_two_share_a_gpu_then_their_shares_are_in_the_books(
    standin: Standin, tmp_path: Path, collector: CollectorThread, client: Client
) -> None:
    standin.raw.gpus = 2
    standin.raw.gpu[0].flowing = 1
    with (
        worker(GPULEDGER_TEAM="search", GPULEDGER_MODEL="ranker") as busy,
        worker(GPULEDGER_TEAM="ads") as idle,
    ):
        standin.add(0, busy.pid, 2048, sm=40)
        standin.add(0, idle.pid, 512)
        with agent(standin, tmp_path, collector.address) as running:
            wait_until(lambda: one(client, "SELECT count() FROM gpu_usage") >= 6)
            running.send_signal(signal.SIGTERM)
            assert running.wait(20) == 0
    started = log_of(tmp_path).splitlines()[0].partition("event=started ")[2]
    facts = dict(fact.split("=", 1) for fact in started.split())
    assert facts == {
        "version": __version__,
        "host": "node-1",
        "cluster": "-",
        "window_s": "1",
        "spool": str(tmp_path / "spool" / "spool.sqlite"),
        "collectors": collector.address,
    }
    whole = "ts IN (SELECT ts FROM gpu_usage WHERE gpu_index = 0 AND observed_ms = 1000)"
    rows = client.query(
        "SELECT team, model, min(held_ms), max(held_ms), avg(sm_busy_ms), any(mem_mib_max),"
        f" any(sm_source), any(pool) FROM process_usage WHERE {whole} GROUP BY 1, 2 ORDER BY 1"
    ).result_rows
    ads, search = rows
    assert ads[:2] == ("ads", "")
    assert search[:2] == ("search", "ranker")
    assert search[4] == pytest.approx(400, abs=120)
    assert (ads[4], ads[5:], search[5:]) == (
        0,
        (512, "process", "production"),
        (2048, "process", "production"),
    )
    unbalanced = one(
        client,
        "SELECT count() FROM (SELECT ts, gpu, any(g.observed_ms - g.unallocated_ms) AS held,"
        " sum(p.held_ms) AS shares FROM gpu_usage AS g LEFT JOIN process_usage AS p"
        " USING (ts, gpu) GROUP BY ts, gpu HAVING held != shares)",
    )
    assert unbalanced == 0
    assert one(client, "SELECT count() FROM gpus") == 2
    assert one(client, "SELECT driver_version FROM hosts") == "570.124.06"
    assert one(client, "SELECT max(processes) FROM agent_health") == 2


def test_agent_when_there_is_no_driver_then_it_waits_and_says_so_once(
    standin: Standin, tmp_path: Path, collector: CollectorThread, client: Client
) -> None:
    standin.raw.init_error = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    with agent(standin, tmp_path, collector.address):
        wait_until(lambda: one(client, "SELECT count() FROM agent_health") >= 2)
        assert log_of(tmp_path).count("event=driver_unavailable fault=no_driver") == 1
        assert one(client, "SELECT max(gpus) FROM agent_health") == 0


def test_agent_when_the_driver_is_upgraded_then_it_goes_on_with_the_new_one(
    standin: Standin, tmp_path: Path, collector: CollectorThread, client: Client
) -> None:
    standin.raw.gpus = 2
    with agent(standin, tmp_path, collector.address):
        wait_until(lambda: one(client, "SELECT count() FROM gpu_usage") >= 2)
        standin.upgrade_driver("580.65.06")
        wait_until(lambda: "event=driver_open version=580.65.06" in log_of(tmp_path))
        before = int(time.time()) + 1
        wait_until(lambda: bool(one(client, f"SELECT count() FROM gpu_usage WHERE ts > {before}")))
    assert log_of(tmp_path).count("event=driver_changed") == 1


def test_agent_when_one_gpu_hangs_and_one_is_lost_then_the_others_go_on(
    standin: Standin, tmp_path: Path, collector: CollectorThread, client: Client
) -> None:
    standin.raw.gpus = 4
    with agent(standin, tmp_path, collector.address) as running:
        wait_until(lambda: one(client, "SELECT uniqExact(gpu) FROM gpu_usage") == 4)
        standin.raw.gpu[1].hang = 1
        standin.raw.gpu[2].lost = pynvml.NVML_ERROR_GPU_IS_LOST
        wait_until(lambda: one(client, "SELECT max(gpus_failed) FROM agent_health") == 2)
        after = int(time.time()) + 1
        wait_until(
            lambda: one(client, f"SELECT uniqExact(gpu) FROM gpu_usage WHERE ts > {after}") == 2
        )
        assert "event=gpu_hung gpu=1" in log_of(tmp_path)
        assert log_of(tmp_path).count("event=gpu_failed gpu=2 fault=lost") == 1
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0


def test_agent_when_the_collector_is_away_then_windows_wait_and_nothing_is_missing(
    standin: Standin, tmp_path: Path, database: StoreConfig, client: Client
) -> None:
    standin.raw.gpus = 1
    with CollectorThread(settings_for(database)) as first:
        address = first.address
    with agent(standin, tmp_path, address) as running:
        wait_until(lambda: "event=collector_unreachable" in log_of(tmp_path))
        started = time.monotonic()
        wait_until(lambda: time.monotonic() - started > 3)
        running.kill()
        running.wait()
    with agent(standin, tmp_path, address):
        settings = settings_for(database)
        back = type(settings)(address, "", settings.store, max_wait_s=0.01)
        with CollectorThread(back):
            wait_until(lambda: one(client, "SELECT count() FROM gpu_usage") >= 6)
    doubled = one(client, "SELECT count() FROM gpu_usage_raw") != one(
        client, "SELECT uniqExact(ts, gpu) FROM gpu_usage_raw"
    )
    assert not doubled


def test_agent_when_asked_then_metrics_and_health_answer(
    standin: Standin, tmp_path: Path, collector: CollectorThread
) -> None:
    ports = ("--metrics", free_port(), "--health", free_port())
    with agent(standin, tmp_path, collector.address, *ports):

        def serving(service: str) -> bool:
            with grpc.insecure_channel(ports[3]) as channel:
                request = health_pb2.HealthCheckRequest(service=service)
                try:
                    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
                except grpc.RpcError:
                    return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        wait_until(lambda: serving("") and serving(DRIVER) and serving(COLLECTOR))
        with urllib.request.urlopen(f"http://{ports[1]}/metrics") as answer:
            page = answer.read().decode()
    assert "gpuledger_agent_gpus 8.0" in page
    assert "gpuledger_agent_collector_connected 1.0" in page
    assert "gpuledger_agent_process_resident_memory_bytes" in page


def test_check_when_run_on_a_host_with_faults_then_each_has_its_remedy(
    standin: Standin, tmp_path: Path
) -> None:
    standin.raw.gpus = 2
    standin.raw.gpu[1].lost = pynvml.NVML_ERROR_GPU_IS_LOST
    with worker(GPULEDGER_TEAM="search") as named, worker() as unnamed:
        standin.add(0, named.pid)
        standin.add(0, unnamed.pid)
        env = {k: v for k, v in standin.env.items() if k != "GPULEDGER_STANDIN_PRELOADED"}
        done = subprocess.run(
            [str(AGENT), "check", "--collector", "127.0.0.1:1", "--spool", str(tmp_path / "s")],
            env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    for said in (
        "ok    driver: version 570.124.06, 2 GPUs",
        "ok    GPU 0: NVIDIA H100 80GB HBM3",
        "FAIL  GPU 1: NVML: GPU is lost",
        "-> reset the GPU or reboot",
        f"ok    pid {named.pid} sleep: team search (rule 'built-in: gpuledger variables', ",
        f"warn  pid {unnamed.pid} sleep: nobody names its team",
        "FAIL  collector 127.0.0.1:1: UNAVAILABLE",
        "-> start it (gpuledger serve)",
    ):
        assert said in done.stdout, done.stdout
