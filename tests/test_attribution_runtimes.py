"""Real containers of real runtimes, from their process on a GPU to their owner in ClickHouse.

The process is one of a labelled container; only the GPU that it is on is the NVML stand-in's.
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.serve import CollectorThread
from tests.nvml_standin.world import Standin
from tests.runtimes.containerd import Containerd
from tests.runtimes.podman import Podman
from tests.runtimes.runtime import Runtime
from tests.test_agent_daemon import AGENT, agent, log_of, one, wait_until

LABELS = {"team": "search", "app.kubernetes.io/name": "rank", "gpuledger.io/model": "ranker-7b"}

OWNED = """
SELECT count() FROM process_usage
WHERE pid = {pid} AND team = 'search' AND model = 'ranker-7b' AND endpoint = 'rank'
    AND workload_kind = '{kind}' AND workload = '{workload}' AND owner_source = '{source}'
"""

UNUSED = """
SELECT count() FROM gpu_allocation
WHERE gpu = '{gpu}' AND team = 'search' AND workload_kind = '{kind}' AND workload = '{workload}'
    AND grant_source = '{source}' AND unheld_ms = granted_ms AND granted_ms > 0
"""


def alone(*names: str) -> list[str]:
    """Flags that have only these sources asked, so that tests do not meet this host's own."""
    return [flag for name in names for flag in ("--source", name)]


@pytest.mark.parametrize("name", ["dockerd", "podman"])
def test_process_when_in_a_labelled_container_then_its_owner_is_in_the_books(
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
    with (
        runtime.container(f"ranker-{name}", LABELS) as (_, pid),
        agent(standin, tmp_path, collector.address, *flags),
    ):
        standin.add(0, pid)
        owned = OWNED.format(pid=pid, kind="container", workload=f"ranker-{name}", source=source)
        wait_until(lambda: one(client, owned) > 2)
        assert one(client, f"SELECT countIf(team = '') FROM process_usage WHERE pid = {pid}") == 0


def test_process_when_in_a_labelled_pod_then_its_owner_is_in_the_books(
    containerd: Containerd,
    standin: Standin,
    tmp_path: Path,
    collector: CollectorThread,
    client: Client,
) -> None:
    flags = (*alone("environment", "cri"), "--socket", f"cri={containerd.socket}")
    with (
        containerd.pod("ranker-0", "ml", labels=LABELS) as pod,
        agent(standin, tmp_path, collector.address, *flags),
    ):
        standin.add(0, pod.pid)
        owned = OWNED.format(pid=pod.pid, kind="pod", workload="ml/ranker-0", source="cri")
        wait_until(lambda: one(client, owned) > 2)


def test_container_when_it_ends_at_once_then_it_is_still_known(
    dockerd: Runtime,
    standin: Standin,
    tmp_path: Path,
    collector: CollectorThread,
    client: Client,
) -> None:
    """Asked for when its process is first seen, not when its window is written."""
    flags = (*alone("docker"), "--socket", f"docker={dockerd.socket}", "--window", "10")
    with agent(standin, tmp_path, collector.address, *flags):
        wait_until(lambda: one(client, "SELECT count() FROM gpu_usage") > 0)
        with dockerd.container("brief", LABELS) as (_, pid):
            standin.add(0, pid)
            asked = standin.raw.calls
            wait_until(lambda: standin.raw.calls > asked + 400)
        standin.remove(0, pid)
        owned = OWNED.format(pid=pid, kind="container", workload="brief", source="docker")
        wait_until(lambda: one(client, owned) > 0)


def test_grant_when_a_container_has_a_gpu_and_no_process_then_it_is_idle_on_its_owners_account(
    podman: Podman,
    standin: Standin,
    tmp_path: Path,
    collector: CollectorThread,
    client: Client,
) -> None:
    flags = (*alone("podman"), "--socket", f"podman={podman.socket}")
    labels = [f"--label={name}={value}" for name, value in LABELS.items()]
    with (
        podman.by_command("hoarder", "--device=nvidia.com/gpu=1", *labels),
        agent(standin, tmp_path, collector.address, *flags),
    ):
        unused = UNUSED.format(
            gpu=standin.raw.gpu[1].uuid.decode(), kind="container", workload="hoarder",
            source="podman",
        )  # fmt: skip
        wait_until(lambda: one(client, unused) > 2)
    unbalanced = (
        "SELECT count() FROM (SELECT ts, gpu, observed_ms - unallocated_ms AS allocated"
        " FROM gpu_usage) AS g LEFT JOIN (SELECT ts, gpu, sum(unheld_ms) AS unheld"
        " FROM gpu_allocation GROUP BY ts, gpu) AS a USING (ts, gpu) WHERE allocated != unheld"
    )
    assert one(client, unbalanced) == 0


def test_runtime_when_it_is_dead_then_a_line_and_a_metric_and_no_sample_is_lost(
    standin: Standin, tmp_path: Path, collector: CollectorThread, client: Client
) -> None:
    dead = tmp_path / "docker.sock"
    with subprocess.Popen(["sleep", "120"]) as process:
        _leave_a_dead_socket(dead)
        standin.add(0, process.pid)
        flags = (*alone("docker", "static"), "--socket", f"docker={dead}", "--team", "lab")
        with agent(standin, tmp_path, collector.address, *flags):
            wait_until(lambda: one(client, "SELECT count() FROM process_usage") > 3)
        process.kill()
    assert one(client, "SELECT countIf(team != 'lab') FROM process_usage") == 0
    said = [line for line in log_of(tmp_path).splitlines() if "source_fails" in line]
    assert len(said) == 1
    assert "source=docker" in said[0]


def test_check_when_a_container_is_on_a_gpu_then_it_says_which_rule_named_its_owner(
    dockerd: Runtime, standin: Standin, tmp_path: Path
) -> None:
    with (
        dockerd.container("explained", LABELS) as (_, pid),
        dockerd.container("nameless", {"colour": "red"}) as (_, other),
    ):
        standin.add(0, pid)
        standin.add(0, other)
        env = {k: v for k, v in standin.env.items() if k != "GPULEDGER_STANDIN_PRELOADED"}
        done = subprocess.run(
            [str(AGENT), "check", "--spool", str(tmp_path / "s"), *alone("docker"),
             "--socket", f"docker={dockerd.socket}"],
            env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    [line] = [x for x in done.stdout.splitlines() if f"pid {pid} " in x]
    assert line.startswith("ok")
    assert "container explained, team search (rule 'built-in: " in line
    assert "label team=search, by docker)" in line
    [line] = [x for x in done.stdout.splitlines() if f"pid {other} " in x]
    assert line.startswith("warn")
    assert "container nameless, nobody names its team; labels: 'colour'" in line
    assert "source docker: " in done.stdout


def _leave_a_dead_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
