"""The images, built and run as the manifests say, up to the rows in ClickHouse: `make test-images`.

It takes a minute and a half, so the file has a name that pytest does not collect by itself.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gpuledger_collector.store.client import StoreConfig, connect
from tests.container.building import BASE, podman  # noqa: F401  # a fixture
from tests.container.node import Node, inference_server, node, worker
from tests.container.podman import Podman
from tests.kubernetes.rendering import MIGRATE, VERSION, Object, agents, named
from tests.nvml_standin.world import Standin
from tests.waiting import wait_until

AGENT, COLLECTOR = (f"localhost/gpuledger-{name}:{VERSION}" for name in ("agent", "collector"))
PYTHON = "/opt/gpuledger/bin/python"


@pytest.fixture
def here(podman: Podman, tmp_path: Path) -> Iterator[Node]:  # noqa: F811
    """A node."""
    with node(podman, tmp_path / "node") as found:
        yield found


@pytest.fixture
def gpus(standin_library: Path, tmp_path: Path) -> tuple[Standin, list[str]]:
    """Two GPUs, and the options that bring them into a container as NVIDIA's runtime would."""
    folder = tmp_path / "world"
    library = shutil.copytree(standin_library, tmp_path / "nvml")
    folder.mkdir()
    world = Standin(folder / "world", library, gpus=2)
    for path, mode in ((library, 0o755), (folder, 0o755), (folder / "world", 0o666)):
        path.chmod(mode)  # what pytest makes is root's alone
    return world, [
        f"--volume={library}:/nvml:ro",
        f"--volume={folder}:/world",
        "--env=LD_LIBRARY_PATH=/nvml",
        "--env=GPULEDGER_STANDIN=/world/world",
    ]


@contextmanager
def collector(podman: Podman, here: Node, store: StoreConfig) -> Iterator[None]:  # noqa: F811
    """The books, made by the Job, and the Deployment's collector on them."""
    # The users of the embedded ClickHouse are not those of a site.
    env = {"GPULEDGER_DATABASE": store.database, "GPULEDGER_USERNAME": store.username}
    with here.clickhouse(store):
        job = named("site", "Job", MIGRATE)["spec"]["template"]["spec"]
        podman.run(COLLECTOR, "migrate", options=here.options("site", job, env))
        serve = named("site", "Deployment", "gpuledger-collector")["spec"]["template"]["spec"]
        options = here.options("site", serve, env)
        with podman.running("collector", COLLECTOR, "serve", options=options):
            wait_until(lambda: "event=serving" in podman.log("collector"))
            yield


def agent_options(here: Node, pod: Object, *more: str) -> list[str]:
    """Options for an agent that makes short windows."""
    env = {"HOST": "node-1", "WINDOW": "1", "TICK": "0.25"}
    return [
        *here.options(
            "site", pod, {f"GPULEDGER_AGENT_{name}": value for name, value in env.items()}
        ),
        *more,
    ]


def only(store: StoreConfig, sql: str) -> Any:
    with connect(store) as client:
        found = client.query(sql).result_rows
    return found[0][0] if found else None


def test_images_when_run_as_their_manifests_say_then_rows_arrive_of_who_did_what(
    podman: Podman,  # noqa: F811
    here: Node,
    gpus: tuple[Standin, list[str]],
    empty_database: StoreConfig,
) -> None:
    world, devices = gpus
    (pod,) = agents("site")
    with collector(podman, here, empty_database), worker() as pid, inference_server() as server:
        world.add(0, pid)
        world.add(1, server)
        options = agent_options(here, pod, *devices)
        with podman.running("agent", AGENT, "run", options=options):
            said = "SELECT any(team) FROM process_usage WHERE host = 'node-1' AND team != ''"
            wait_until(lambda: only(empty_database, said) == "search")
            served = "SELECT sum(requests) > 0 FROM endpoint_traffic WHERE host = 'node-1'"
            wait_until(lambda: only(empty_database, served) == 1)
            for name, image in (("agent", AGENT), ("collector", COLLECTOR)):
                health = podman.health(name, image)
                assert health.returncode == 0, health.stderr
    assert only(empty_database, "SELECT any(host_pool) FROM gpu_usage") == "production"


def test_images_when_run_as_they_are_then_as_nobody_without_rights_on_a_read_only_root(
    podman: Podman,  # noqa: F811
    gpus: tuple[Standin, list[str]],
) -> None:
    _, devices = gpus
    bare = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]
    sampled = podman.run(
        AGENT, "sample", "--window=1", "--tick=0.25", "--format=json", options=[*bare, *devices]
    )
    assert len(json.loads(sampled.stdout)) == 2
    checked = podman.run(AGENT, "check", options=[*bare, *devices], check=False)
    assert "ok    spool: /var/lib/gpuledger-agent" in checked.stdout  # which it may write
    who = "import os; print(os.getuid(), os.getgid())"
    for image in (AGENT, COLLECTOR):
        asked = podman.run(image, "-c", who, options=[*bare, f"--entrypoint={PYTHON}"])
        assert asked.stdout == "65532 65532\n"


ENVIRONMENT, SERVER = "team search", "requests from vllm:request_success_total"
"""What `check` says if it could read another user's process, and a server in another network."""


@pytest.mark.parametrize(
    ("lacking", "lost"),
    [
        ("", ""),
        ("DAC_READ_SEARCH", ENVIRONMENT),
        ("SYS_PTRACE", SERVER),  # before Linux 6.11 the environment as well
        ("SYS_ADMIN", SERVER),
    ],
)
def test_agent_when_it_lacks_one_of_its_capabilities_then_it_sees_less(
    podman: Podman,  # noqa: F811
    here: Node,
    gpus: tuple[Standin, list[str]],
    lacking: str,
    lost: str,
) -> None:
    world, devices = gpus
    (pod,) = copy.deepcopy(agents("site"))
    added = pod["containers"][0]["securityContext"]["capabilities"]["add"]
    assert not lacking or added.remove(lacking) is None
    with worker() as pid, inference_server() as server:
        world.add(0, pid)
        world.add(1, server)
        options = agent_options(here, pod, *devices)
        found = podman.run(AGENT, "check", options=options, check=False).stdout
    assert lost not in found if lost else ENVIRONMENT in found and SERVER in found, found


@pytest.mark.parametrize("image", [AGENT, COLLECTOR])
def test_images_when_inspected_then_they_say_what_they_are(podman: Podman, image: str) -> None:  # noqa: F811
    found = podman.inspect(image)
    config, labels = found["Config"], found["Labels"]
    assert config["User"] == "65532:65532"
    assert config["StopSignal"] == "SIGTERM"
    assert labels["org.opencontainers.image.title"] in image
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.base.name"] == BASE
    assert len(labels["org.opencontainers.image.revision"]) == 40
    assert not [one for one in config["Env"] if "PASS" in one or "TOKEN" in one]


@pytest.mark.parametrize(
    ("image", "absent", "limit_mib"),
    [
        (AGENT, {"pip", "clickhouse_connect", "chdb"}, 40),
        (COLLECTOR, {"pip", "pynvml", "chdb"}, 80),
    ],
)
def test_images_when_built_then_they_hold_what_they_need_and_no_more(
    podman: Podman,  # noqa: F811
    image: str,
    absent: set[str],
    limit_mib: int,
) -> None:
    ask = f"import importlib.util as u; print(*[n for n in {absent} if u.find_spec(n)])"
    found = podman.run(image, "-c", ask, options=[f"--entrypoint={PYTHON}", "--network=none"])
    assert not found.stdout.split()
    added = podman.inspect(image)["Size"] - podman.inspect(BASE)["Size"]
    print(f"{image} adds {added / (1 << 20):.0f} MiB to its base")  # noqa: T201
    assert added < limit_mib << 20
