"""DockerSource against a real Docker and a real Podman, with containers that run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gpuledger_agent.attribution.base import Kind, Workload, WorkloadRef
from gpuledger_agent.attribution.docker import DockerSource
from tests.runtimes.image import IMAGE
from tests.runtimes.runtime import Runtime


def wants(variable: str) -> bool:
    return variable.startswith("GPULEDGER_")


def ref(container_id: str) -> WorkloadRef:
    return WorkloadRef(Kind.CONTAINER, container_id)


def listed(source: DockerSource) -> dict[str, Workload]:
    return {workload.id: workload for workload in source.workloads()}


@pytest.fixture(params=["dockerd", "podman"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return request.getfixturevalue(request.param)


@pytest.fixture
def source(runtime: Runtime) -> DockerSource:
    return DockerSource(runtime.socket, wants)


def test_workload_when_its_process_is_found_in_proc_tells_what_the_container_was_started_with(
    runtime: Runtime, source: DockerSource
) -> None:
    labels = {"team": "search", "app.kubernetes.io/name": "ranker", "bare": ""}
    env = {"GPULEDGER_MODEL": "llama=3", "AWS_SECRET_ACCESS_KEY": "hush"}
    with runtime.container("ranker", labels, env) as (container_id, pid):
        cgroup = Path(f"/proc/{pid}/cgroup").read_text()
        in_proc = set(re.findall("[0-9a-f]{64}", cgroup))
        assert in_proc == {container_id}
        assert source.workload(ref(in_proc.pop())) == Workload(
            kind=Kind.CONTAINER,
            id=container_id,
            name="ranker",
            labels=labels,
            image=IMAGE,
            environ={"GPULEDGER_MODEL": "llama=3"},
        )


def test_workloads_when_containers_run_lists_them_as_workload_tells_them(
    runtime: Runtime, source: DockerSource
) -> None:
    with (
        runtime.container("one", {"team": "search"}) as (one, _),
        runtime.container("two", {"team": "ads"}) as (two, _),
    ):
        asked = DockerSource(runtime.socket, wants)
        told = {one: asked.workload(ref(one)), two: asked.workload(ref(two))}
        assert listed(source).items() >= told.items()


def test_workload_when_the_container_has_ended_answers_until_it_is_removed(
    runtime: Runtime, source: DockerSource
) -> None:
    with runtime.container("brief", {"team": "search"}) as (container_id, _):
        assert container_id in listed(source)
        runtime.stop("brief")
        assert container_id not in listed(source)
        ended = source.workload(ref(container_id))
        assert ended is not None
        assert ended.labels == {"team": "search"}
    assert source.workload(ref(container_id)) is None


def test_workloads_when_a_container_is_removed_forgets_it(
    runtime: Runtime, source: DockerSource
) -> None:
    with runtime.container("gone") as (container_id, _):
        assert container_id in listed(source)
    assert container_id not in listed(source)
    assert source.workload(ref(container_id)) is None


def test_workloads_when_a_container_is_renamed_gives_the_new_name(
    runtime: Runtime, source: DockerSource
) -> None:
    with runtime.container("canary", {"team": "search"}) as (container_id, _):
        assert listed(source)[container_id].name == "canary"
        runtime.rename("canary", "stable")
        renamed = listed(source)[container_id]
        assert (renamed.name, renamed.labels) == ("stable", {"team": "search"})
        assert source.workload(ref(container_id)) == renamed


def test_workload_when_no_such_container_exists_is_none(source: DockerSource) -> None:
    assert source.workload(ref("0" * 64)) is None


def test_workload_when_the_container_is_never_started_names_it_too(
    runtime: Runtime, source: DockerSource
) -> None:
    with runtime.prepared("prepared") as container_id:
        found = source.workload(ref(container_id))
    assert found is not None
    assert found.name == "prepared"


def test_workload_when_cri_dockerd_made_the_container_is_its_pod_with_the_pods_labels(
    dockerd: Runtime,
) -> None:
    pod = {"io.kubernetes.pod.name": "ranker-0", "io.kubernetes.pod.namespace": "search"}
    sandbox_labels = {
        **pod,
        "io.kubernetes.docker.type": "podsandbox",
        "team": "search",
        "annotation.cost": "7",
    }
    with dockerd.container("k8s_POD_ranker-0_search_uid_0", sandbox_labels) as (sandbox, _):
        labels = {
            **pod,
            "io.kubernetes.docker.type": "container",
            "io.kubernetes.sandbox.id": sandbox,
        }
        with dockerd.container("k8s_main_ranker-0_search_uid_0", labels) as (container_id, _):
            source = DockerSource(dockerd.socket, wants)
            asked = source.workload(WorkloadRef(Kind.POD, container_id, "docker"))
            assert listed(source)[container_id] == asked
    assert asked is not None
    assert (asked.kind, asked.name, asked.namespace) == (Kind.POD, "search/ranker-0", "search")
    assert asked.labels == {**pod, **labels, "team": "search", "cost": "7"}


def test_workload_when_only_its_image_says_that_it_is_a_pods_is_a_container(
    dockerd: Runtime,
) -> None:
    """Grants of pods are the kubelet's to tell: an image could hide its own, or name another's."""
    labels = {"io.kubernetes.pod.name": "ranker-0", "io.kubernetes.pod.namespace": "search"}
    with dockerd.prepared("evil", labels) as container_id:
        found = DockerSource(dockerd.socket, wants).workload(ref(container_id))
    assert found is not None
    assert (found.kind, found.name, found.namespace) == (Kind.CONTAINER, "evil", "")


def test_workloads_when_one_has_labels_of_many_mebibytes_tells_all(
    runtime: Runtime, source: DockerSource
) -> None:
    with (
        runtime.container("modest", {"team": "search"}) as (modest, _),
        runtime.container("huge", {"a": "x" * (9 << 20)}) as (huge, _),
    ):
        found = listed(source)
        assert found[modest].labels == {"team": "search"}
        assert huge not in found, "what inspecting it tells is too long as well"
    assert modest not in listed(source)


def test_present_when_the_runtime_listens_is_true(source: DockerSource) -> None:
    assert source.present()


def test_present_when_there_is_no_socket_is_false(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "nothing"):
        assert not DockerSource(path, wants).present()
