"""DockerSource against servers that fail, hang or lie: real sockets and real HTTP, no runtime."""

from __future__ import annotations

import grp
import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gpuledger_agent.attribution import docker_api
from gpuledger_agent.attribution.base import Kind, SourceError, WorkloadRef
from gpuledger_agent.attribution.docker import DockerSource
from gpuledger_agent.attribution.unix_http import CHUNK, MAX_ANSWER_BYTES
from tests.runtimes.scripted_engine import VERSION, ScriptedEngine, raw_server, scripted_engine

NOBODY = 65534
ONE, TWO, THREE = ("1" * 64, "2" * 64, "3" * 64)


def all_variables(_variable: str) -> bool:
    return True


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ScriptedEngine]:
    with scripted_engine(tmp_path / "engine.sock") as scripted:
        yield scripted


@pytest.fixture
def source(engine: ScriptedEngine) -> DockerSource:
    return DockerSource(engine.socket, all_variables)


def container(**labels: str) -> dict[str, Any]:
    return {"Name": "/x", "Config": {"Labels": labels}, "HostConfig": {}}


def test_workloads_when_nobody_listens_fails_with_the_remedy(tmp_path: Path) -> None:
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead))
    for path in (dead, tmp_path / "nothing"):
        with pytest.raises(SourceError, match=f"{path} has nobody listening: start"):
            DockerSource(path, all_variables).workloads()


@contextmanager
def without_privileges() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_workloads_when_the_socket_is_closed_to_us_names_the_group_to_join() -> None:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = Path(directory, "docker.sock")
        listener.bind(str(path))
        listener.listen()
        Path(directory).chmod(0o755)
        path.chmod(0o000)
        group = grp.getgrgid(path.stat().st_gid).gr_name
        with without_privileges(), pytest.raises(SourceError, match=f"member of group {group}$"):
            DockerSource(path, all_variables).workloads()


@pytest.mark.parametrize("target", ["/_ping", "/containers/json"])
def test_workloads_when_the_runtime_hangs_fails_in_time(
    engine: ScriptedEngine, source: DockerSource, target: str
) -> None:
    engine.containers({ONE: container()})
    engine.hangs.add(target)
    with pytest.raises(SourceError, match="took longer than 2 seconds"):
        source.workloads()


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nServer: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
    ],
    ids=["status", "header", "body"],
)
def test_workloads_when_the_answer_drips_fails_in_time(tmp_path: Path, beginning: bytes) -> None:
    def drip(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(beginning)
        while not over.wait(0.05):
            connection.sendall(b"x")

    path = tmp_path / "drips.sock"
    with raw_server(path, drip), pytest.raises(SourceError, match="took longer than 2 seconds"):
        DockerSource(path, all_variables).workloads()


def test_workloads_when_one_container_hangs_tells_the_others(
    engine: ScriptedEngine, source: DockerSource
) -> None:
    engine.hangs.add(f"/containers/{ONE}/json")
    engine.containers({TWO: container(), ONE: container()})
    assert [workload.id for workload in source.workloads()] == [TWO]
    engine.containers({ONE: container(), THREE: container(), TWO: container()})
    assert {workload.id for workload in source.workloads()} == {TWO, THREE}


def test_workloads_when_new_ones_come_without_end_then_those_that_wait_are_first(
    engine: ScriptedEngine, source: DockerSource
) -> None:
    """Lists begin with the newest; time for all is short."""
    engine.containers({ONE: container()})
    engine.hangs.add(f"/containers/{ONE}/json")
    source.workloads()
    engine.containers({THREE: container(), TWO: container(), ONE: container()})
    source.workloads()
    inspected = [path.split("/")[3][0] for path in engine.asked if len(path) > 64]
    assert inspected == ["1", "2", "3", "1"]


def test_workloads_when_a_container_hangs_no_more_tells_it(
    engine: ScriptedEngine, source: DockerSource
) -> None:
    engine.containers({ONE: container()})
    engine.hangs.add(f"/containers/{ONE}/json")
    assert source.workloads() == []
    with pytest.raises(SourceError, match=r"took longer than 0\.5 seconds"):
        source.workload(WorkloadRef(Kind.CONTAINER, ONE))
    engine.hangs.clear()
    assert [workload.id for workload in source.workloads()] == [ONE]


def test_workloads_when_a_container_runs_on_inspects_it_once(
    engine: ScriptedEngine, source: DockerSource
) -> None:
    engine.containers({ONE: container(team="search")})
    first, again = source.workloads(), source.workloads()
    assert first[0] is again[0]
    assert source.workload(WorkloadRef(Kind.CONTAINER, ONE)) is first[0]
    assert engine.asked.count(f"/v{VERSION}/containers/{ONE}/json") == 1


def test_workloads_when_a_container_ends_forgets_what_it_was(
    engine: ScriptedEngine, source: DockerSource
) -> None:
    engine.containers({ONE: container(team="search")})
    source.workloads()
    engine.containers({})
    assert source.workloads() == []
    engine.containers({ONE: container(team="ads")})
    assert [workload.labels for workload in source.workloads()] == [{"team": "ads"}]


def test_workloads_when_asked_speaks_the_runtimes_own_version(
    engine: ScriptedEngine, source: DockerSource
) -> None:
    engine.containers({})
    source.workloads()
    assert engine.asked == ["/_ping", f"/v{VERSION}/containers/json"]


@pytest.mark.parametrize("version", [None, "", "1.43/../..", "one"])
def test_workloads_when_no_version_is_told_says_what_it_is_not(
    engine: ScriptedEngine, source: DockerSource, version: str | None
) -> None:
    engine.version = version
    with pytest.raises(SourceError, match="is no Docker Engine API"):
        source.workloads()


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("split", [0, 1, 40, 90, 110])
def test_workloads_when_one_has_labels_without_end_tells_all(
    engine: ScriptedEngine, source: DockerSource, separators: tuple[str, str], split: int
) -> None:
    """A list holds all labels of all containers: it must not be the largest that decides.

    It is read in chunks; `split` bytes of a container's beginning lie in the one before.
    """
    engine.containers({ONE: container(team="search"), TWO: container(), THREE: container()})
    forged = json.dumps([{"Id": "f" * 64, "Names": ["/forged"]}])

    def listed(fill: int) -> bytes:
        huge = {"a": "x" * (MAX_ANSWER_BYTES + fill), "b": forged}
        first = {"Id": ONE, "Names": ["/other/alias", "/first"], "Labels": huge}
        others = [{"Id": TWO, "Names": [], "Labels": huge}, {"Id": THREE, "Names": None}]
        return json.dumps([first, *others], separators=separators).encode()

    beginning = listed(0).index(b'{"Id"', 2)
    engine.answers["/containers/json"] = listed(-(beginning + split) % CHUNK)
    found = {workload.id: workload for workload in source.workloads()}
    assert found.keys() == {ONE, TWO, THREE}
    assert (found[ONE].name, found[ONE].labels) == ("first", {"team": "search"})


def test_workloads_when_a_long_list_is_not_read_to_its_end_inspects_what_was_found(
    engine: ScriptedEngine, source: DockerSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_api, "MAX_WORKLOADS", 2)
    engine.containers({ONE: container(), TWO: container(), THREE: container()})
    engine.answers["/containers/json"][1]["Labels"] = {"a": "x" * (2 * MAX_ANSWER_BYTES)}
    assert {workload.id for workload in source.workloads()} == {ONE, TWO}


@pytest.mark.parametrize("name", ["evil", "x_ranker-0_search_1", "k8s_main_other_search_1", "k8s_"])
def test_workload_when_labels_say_pod_and_its_name_does_not_is_a_container(
    engine: ScriptedEngine, source: DockerSource, name: str
) -> None:
    pod = {"io.kubernetes.pod.name": "ranker-0", "io.kubernetes.pod.namespace": "search"}
    engine.containers({ONE: container(**pod) | {"Name": f"/{name}"}})
    found = source.workload(WorkloadRef(Kind.CONTAINER, ONE))
    assert found is not None
    assert (found.kind, found.name) == (Kind.CONTAINER, name)


def test_workloads_when_the_answer_is_long_and_no_list_fails(
    engine: ScriptedEngine, source: DockerSource
) -> None:
    engine.answers["/containers/json"] = b"[" + b" " * MAX_ANSWER_BYTES + b"]"
    with pytest.raises(SourceError, match="at length with no containers"):
        source.workloads()


def test_workload_when_the_answer_is_too_long_fails(
    engine: ScriptedEngine, source: DockerSource
) -> None:
    engine.answers[f"/containers/{ONE}/json"] = b"[" + b" " * MAX_ANSWER_BYTES + b"]"
    with pytest.raises(SourceError, match=f"over {MAX_ANSWER_BYTES} bytes"):
        source.workload(WorkloadRef(Kind.CONTAINER, ONE))


@pytest.mark.parametrize("size", [b"-1", b"fffffffff"])
def test_workloads_when_a_chunk_has_no_end_fails(tmp_path: Path, size: bytes) -> None:
    def flood(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(size + b"\r\n")
        while not over.is_set():
            connection.sendall(b"x" * 65536)

    path = tmp_path / "floods.sock"
    with raw_server(path, flood), pytest.raises(SourceError, match=r"over [0-9]+ bytes"):
        DockerSource(path, all_variables).workloads()


def test_workloads_when_the_list_is_not_found_fails(source: DockerSource) -> None:
    with pytest.raises(SourceError, match="no array of containers"):
        source.workloads()


@pytest.mark.parametrize(
    "ref",
    [
        WorkloadRef(Kind.CONTAINER, "../../images/json"),
        WorkloadRef(Kind.CONTAINER, ONE + "\n"),
        WorkloadRef(Kind.CONTAINER, ""),
    ],
)
def test_workload_when_the_reference_cannot_be_ours_asks_nobody(
    engine: ScriptedEngine, source: DockerSource, ref: WorkloadRef
) -> None:
    assert source.workload(ref) is None
    assert engine.asked == []
