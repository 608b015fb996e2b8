"""Inference servers, in containers and out, from their metrics to rows in ClickHouse."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

import tests
from gpuledger_agent.serving.network import listeners
from gpuledger_collector.serve import CollectorThread
from tests.nvml_standin.world import Standin
from tests.runtimes.runtime import Runtime
from tests.serving import lookalike as engine
from tests.serving.processes import LOOKALIKE, lookalike
from tests.test_agent_daemon import AGENT, agent, log_of, one, wait_until
from tests.test_attribution_runtimes import alone
from tests.uplink_fixture import free_port

LABELS = {"team": "search", "gpuledger.io/model": "ranker-7b", "gpuledger.io/endpoint": "rank"}

PYTHON = ("/usr", "/lib", "/lib64", sys.base_prefix, sys.prefix)
REPOSITORY = str(Path(tests.__file__).parent.parent)

FIGURES = f"""
SELECT
    sum(requests) > 0 AND sum(requests) % {engine.STEP} = 0,
    sum(errors) * {engine.STEP} = sum(requests),
    sum(prompt_tokens) = {engine.PROMPT_TOKENS} * sum(requests),
    sum(generated_tokens) = {engine.GENERATED_TOKENS} * sum(requests),
    min(running_max) = {engine.RUNNING} AND max(waiting_max) = {engine.WAITING},
    max(kv_cache_pct_max) = {engine.KV_CACHE * 100:.0f},
    any(team), any(model), any(endpoint), any(pool), any(workload_kind), any(workload),
    any(server), any(server_kind), any(served_model)
FROM endpoint_traffic
"""

TRUE = (True,) * 6


@contextmanager
def served(
    runtime: Runtime,
    name: str,
    labels: Mapping[str, str],
    port: int = 8000,
    **host_config: object,
) -> Iterator[int]:
    """Host pid of a container without network, in which the server listens on its loopback."""
    binds = [f"{place}:{place}:ro" for place in (*PYTHON, REPOSITORY) if Path(place).exists()]
    command = [sys.executable, str(LOOKALIKE), str(port)]
    with runtime.container(name, labels, command=command, Binds=binds, **host_config) as (_, pid):
        wait_until(lambda: port in {listener.port for listener in listeners(pid, Path("/proc"))})
        yield pid


def rows(client: Client) -> int:
    return int(str(one(client, "SELECT count() FROM endpoint_traffic")))


@pytest.mark.parametrize("name", ["dockerd", "podman"])
def test_server_when_in_a_labelled_container_then_its_traffic_is_in_the_books(
    name: str,
    request: pytest.FixtureRequest,
    standin: Standin,
    tmp_path: Path,
    collector: CollectorThread,
    client: Client,
) -> None:
    runtime: Runtime = request.getfixturevalue(name)
    source = "docker" if name == "dockerd" else "podman"
    flags = (*alone("environment", source), "--socket", f"{source}={runtime.socket}")
    labels = LABELS | {"prometheus.io/scrape": "true", "prometheus.io/port": "9123"}
    with (
        served(runtime, f"ranker-{name}", labels, 9123) as pid,
        agent(standin, tmp_path, collector.address, *flags) as running,
    ):
        standin.add(0, pid)
        wait_until(lambda: rows(client) >= 3)
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
    [found] = client.query(FIGURES).result_rows
    assert found[:6] == TRUE
    assert found[6:] == (
        "search", "ranker-7b", "rank", "production", "container", f"ranker-{name}",
        "127.0.0.1:9123", "vllm", engine.MODEL,
    )  # fmt: skip
    unlike = (
        "SELECT count() FROM endpoint_traffic WHERE (team, model, endpoint, pool, workload)"
        " NOT IN (SELECT team, model, endpoint, pool, workload FROM process_usage)"
    )
    assert one(client, unlike) == 0


def test_server_when_granted_a_gpu_without_a_process_on_it_then_its_traffic_is_in_the_books(
    podman: Runtime,
    standin: Standin,
    tmp_path: Path,
    collector: CollectorThread,
    client: Client,
) -> None:
    flags = (*alone("podman"), "--socket", f"podman={podman.socket}")
    node = {"PathOnHost": "/dev/nvidia1", "PathInContainer": "/dev/gpu", "CgroupPermissions": "rwm"}
    labels = LABELS | {"gpuledger.io/metrics": "8000"}
    with (
        served(podman, "granted", labels, Devices=[node]),
        agent(standin, tmp_path, collector.address, *flags),
    ):
        wait_until(lambda: rows(client) >= 2)
    assert one(client, "SELECT any(workload) FROM endpoint_traffic") == "granted"


def test_server_when_a_process_of_its_own_says_so_then_its_traffic_is_in_the_books(
    standin: Standin, tmp_path: Path, collector: CollectorThread, client: Client
) -> None:
    """Its engine is on the GPU, the server is its parent. Another comes meanwhile."""
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("GPULEDGER_METRICS", "/metrics")
        pid, port = stack.enter_context(lookalike(child=True))
        standin.add(0, pid)
        address = free_port()
        flags = (*alone("environment"), "--metrics", address)
        with agent(standin, tmp_path, collector.address, *flags):
            wait_until(lambda: rows(client) >= 2)
            with urllib.request.urlopen(f"http://{address}/metrics") as answer:
                page = answer.read().decode()
            standin.remove(0, pid)
            again, other = stack.enter_context(lookalike(child=True))
            standin.add(0, again)
            wait_until(lambda: one(client, "SELECT uniqExact(server) FROM endpoint_traffic") == 2)
    [found] = client.query(FIGURES).result_rows
    assert found[:6] == TRUE
    assert {row[0] for row in client.query("SELECT server FROM endpoint_traffic").result_rows} == {
        f"127.0.0.1:{port}", f"127.0.0.1:{other}",
    }  # fmt: skip
    assert "gpuledger_agent_servers 1.0" in page
    assert 'gpuledger_agent_scrape_failures_total{reason="timeout"} 0.0' in page
    assert re.search(r"^gpuledger_agent_scrapes_total [2-9]", page, re.MULTILINE)
    assert re.search(r"^gpuledger_agent_scrape_seconds_total 0\.0*[1-9]", page, re.MULTILINE)


def test_agent_when_scraping_is_off_then_no_server_is_asked(
    standin: Standin, tmp_path: Path, collector: CollectorThread, client: Client
) -> None:
    with lookalike() as (pid, port), pytest.MonkeyPatch.context() as patched:
        patched.setenv("GPULEDGER_METRICS", str(port))
        standin.add(0, pid)
        with agent(standin, tmp_path, collector.address, "--no-scrape"):
            wait_until(lambda: one(client, "SELECT count() FROM process_usage") > 5)
    assert rows(client) == 0
    assert "server" not in log_of(tmp_path)


def test_check_when_there_are_servers_then_it_says_how_each_was_found_and_what_it_tells(
    podman: Runtime, standin: Standin, tmp_path: Path
) -> None:
    labels = LABELS | {"gpuledger.io/metrics": "8000/metrics"}
    with (
        served(podman, "told", labels) as told,
        served(podman, "elsewhere", LABELS | {"gpuledger.io/metrics": "9/metrics"}) as elsewhere,
        podman.container("silent", LABELS) as (_, silent),
    ):
        for pid in (told, elsewhere, silent):
            standin.add(0, pid)
        env = {k: v for k, v in standin.env.items() if k != "GPULEDGER_STANDIN_PRELOADED"}
        done = subprocess.run(
            [str(AGENT), "check", "--spool", str(tmp_path / "s"), *alone("podman"),
             "--socket", f"podman={podman.socket}"],
            env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    said = done.stdout.splitlines()
    [line] = [x for x in said if "container told, found" in x]
    assert line.startswith("ok    server 127.0.0.1:8000: container told, found by rule 'built-in: ")
    assert "label gpuledger.io/metrics=8000/metrics, by podman: vllm at /metrics: " in line
    assert "requests from vllm:request_success_total; " in line
    [line] = [x for x in said if "container elsewhere listens" in x]
    assert line.startswith("warn  no server: container elsewhere listens on 8000: rule 'built-in")
    assert line.endswith("by podman says port 9")
    [line] = [x for x in said if "container silent listens" in x]
    assert line == "ok    no server: container silent listens on no TCP port that the agent can see"
