"""What the kubelet granted, from a scripted server that speaks the published PodResources v1."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_agent.attribution import kubelet as module
from gpuledger_agent.attribution.base import Kind, SourceError, Workload, WorkloadRef
from gpuledger_agent.attribution.kubelet import KubeletSource
from gpuledger_proto.kubernetes import podresources_pb2 as kubelet
from tests.runtimes.scripted_grpc import HANGS, ScriptedServer

LIST = "/v1.PodResourcesLister/List"
ALLOCATABLE = "/v1.PodResourcesLister/GetAllocatableResources"

CARD = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
MIG = "MIG-35e5ca6e-a8ed-5f5b-8dc8-0a5aa1ac4d3a"

PUBLISHED = {
    "ListPodResourcesResponse": {"pod_resources": 1},
    "PodResources": {"name": 1, "namespace": 2, "containers": 3},
    "ContainerResources": {"name": 1, "devices": 2, "dynamic_resources": 5},
    "ContainerDevices": {"resource_name": 1, "device_ids": 2},
    "DynamicResource": {"claim_resources": 4},
    "ClaimResource": {"cdi_devices": 1, "driver_name": 2, "device_name": 4},
    "CDIDevice": {"name": 1},
    "AllocatableResourcesResponse": {"devices": 1},
}
"""Field numbers of kubernetes/kubelet, pkg/apis/podresources/v1/api.proto."""


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedServer]:
    with (
        tempfile.TemporaryDirectory() as directory,
        ScriptedServer(Path(directory) / "kubelet.sock") as server,
    ):
        yield server


@pytest.fixture
def server(scripted: ScriptedServer) -> ScriptedServer:
    scripted.answers = {LIST: kubelet.ListPodResourcesResponse()}
    scripted.asked.clear()
    return scripted


@pytest.fixture
def source(server: ScriptedServer) -> Iterator[KubeletSource]:
    found = KubeletSource(server.socket)
    yield found
    found.close()


def devices(*ids: str, resource: str = "nvidia.com/gpu") -> dict[str, Any]:
    """A container with devices of a device plugin."""
    return {"devices": [{"resource_name": resource, "device_ids": ids}]}


def claim(*resources: Mapping[str, Any]) -> dict[str, Any]:
    """A container with what a DRA driver gave it."""
    return {"dynamic_resources": [{"claim_resources": resources}]}


def claimed(cdi: Sequence[str] = (), driver: str = "gpu.nvidia.com", name: str = "") -> Any:
    return {
        "cdi_devices": [{"name": one} for one in cdi],
        "driver_name": driver,
        "device_name": name,
    }


def grant(server: ScriptedServer, *containers: Mapping[str, Any], pod: str = "pod") -> None:
    """One more pod of these containers."""
    server.answers[LIST].pod_resources.add(name=pod, namespace="ns", containers=containers)


def allocatable(server: ScriptedServer, *ids: str, resource: str = "nvidia.com/gpu") -> None:
    granted = [{"resource_name": resource, "device_ids": ids}]
    server.answers[ALLOCATABLE] = kubelet.AllocatableResourcesResponse(devices=granted)


def held(source: KubeletSource) -> list[tuple[str, tuple[str, ...], float]]:
    return [(w.name, w.devices, w.share) for w in source.workloads()]


@pytest.mark.parametrize("message", PUBLISHED)
def test_fields_have_the_published_numbers(message: str) -> None:
    fields = kubelet.DESCRIPTOR.message_types_by_name[message].fields
    assert {field.name: field.number for field in fields} == PUBLISHED[message]


def test_pod_when_its_containers_hold_gpus_is_one_workload_with_all_of_them(
    server: ScriptedServer, source: KubeletSource
) -> None:
    grant(server, devices("GPU-b"), devices("GPU-a", "GPU-b"), {"name": "sidecar"})
    assert source.workloads() == [
        Workload(Kind.POD, "", "ns/pod", namespace="ns", devices=("GPU-b", "GPU-a"))
    ]


def test_pod_when_it_holds_no_gpu_is_not_listed(
    server: ScriptedServer, source: KubeletSource
) -> None:
    grant(server, devices("0000:3b:00.1", resource="intel.com/sriov"), {"name": "plain"})
    assert source.workloads() == []


@pytest.mark.parametrize(
    ("resource", "device"),
    [
        ("nvidia.com/gpu", CARD),
        ("nvidia.com/mig-1g.10gb", MIG),
        ("nvidia.com/gpu", "nvidia0"),
        ("nvidia.com/gpu", "nvidia0/gi1"),
    ],
)
def test_device_when_it_is_not_shared_is_named_verbatim_and_held_whole(
    server: ScriptedServer, source: KubeletSource, resource: str, device: str
) -> None:
    grant(server, devices(device, resource=resource))
    assert held(source) == [("ns/pod", (device,), 1.0)]
    assert ALLOCATABLE not in server.asked


@pytest.mark.parametrize("replica", [f"{CARD}::", f"{MIG}::", "nvidia0/vgpu", "nvidia0/gi1/vgpu"])
def test_replica_when_its_gpu_has_four_is_a_quarter_whoever_holds_the_others(
    server: ScriptedServer, source: KubeletSource, replica: str
) -> None:
    every = [f"{replica}{n}" for n in range(4)]
    grant(server, devices(every[1], resource="nvidia.com/gpu.shared"), pod="one")
    grant(server, devices(every[0], every[3], resource="nvidia.com/gpu.shared"), pod="two")
    allocatable(server, *every, "GPU-other::0", resource="nvidia.com/gpu.shared")
    assert held(source) == [
        ("ns/one", (every[1],), 0.25),
        ("ns/two", (every[0], every[3]), 0.25),
    ]


def test_replicas_when_the_gpu_is_sick_are_parts_of_those_granted(
    server: ScriptedServer, source: KubeletSource
) -> None:
    grant(server, devices("GPU-sick::0"), pod="one")
    grant(server, devices("GPU-sick::1"), pod="two")
    allocatable(server)
    assert held(source) == [("ns/one", ("GPU-sick::0",), 0.5), ("ns/two", ("GPU-sick::1",), 0.5)]


@pytest.mark.parametrize("refusal", [None, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN])
def test_replica_when_an_old_kubelet_cannot_say_how_many_there_are_counts_whole(
    server: ScriptedServer, source: KubeletSource, refusal: grpc.StatusCode | None
) -> None:
    grant(server, devices("GPU-a::0", "GPU-a::1"))
    if refusal:
        server.answers[ALLOCATABLE] = refusal
    assert held(source) == [("ns/pod", ("GPU-a::0", "GPU-a::1"), 1.0)]


def test_pod_when_it_holds_whole_gpus_and_replicas_is_listed_once_for_each_share(
    server: ScriptedServer, source: KubeletSource
) -> None:
    grant(server, devices("GPU-a::0", "GPU-b", "GPU-c::0", "GPU-a::1"))
    allocatable(server, "GPU-a::0", "GPU-a::1", "GPU-b", "GPU-c::0")
    assert held(source) == [
        ("ns/pod", ("GPU-a::0", "GPU-a::1"), 0.5),
        ("ns/pod", ("GPU-b", "GPU-c::0"), 1.0),
    ]


CLAIM = "k8s.gpu.nvidia.com/claim=dab5ab50-d59a-42a6-af16-cfd4628c0f7a-gpu-0"
DEVICE = "k8s.gpu.nvidia.com/device=gpu-0"


@pytest.mark.parametrize(
    ("resource", "named"),
    [
        (claimed([CLAIM], name="gpu-0"), (CLAIM,)),
        (claimed([DEVICE, CLAIM], name="gpu-0"), (DEVICE,)),
        (claimed(name="gpu-0-mig-1g18gb-19-0"), ("gpu-0-mig-1g18gb-19-0",)),
        (claimed(), ()),
        (claimed(["k8s.compute-domain.nvidia.com/claim=c"], "compute-domain.nvidia.com", "c"), ()),
        (claimed([CLAIM], "dra.example.com", "gpu-0"), ()),
        (claimed([CLAIM, "example.com/nic=1", DEVICE], ""), (CLAIM, DEVICE)),
    ],
)
def test_claim_when_a_dra_driver_served_it_names_each_gpu_once(
    server: ScriptedServer, source: KubeletSource, resource: Any, named: tuple[str, ...]
) -> None:
    grant(server, claim(resource))
    assert [w.devices for w in source.workloads()] == ([named] if named else [])


def test_workload_when_asked_for_is_unknown_for_the_kubelet_knows_no_ids(
    server: ScriptedServer, source: KubeletSource
) -> None:
    grant(server, devices("GPU-a"))
    assert source.workload(WorkloadRef(Kind.POD, "c" * 64, pod_uid="u")) is None
    assert not server.asked


def test_pods_when_there_are_too_many_are_cut_to_the_limit(
    server: ScriptedServer, source: KubeletSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WORKLOADS", 2)
    for n in range(3):
        grant(server, devices(f"GPU-{n}"), pod=f"pod-{n}")
    assert [w.name for w in source.workloads()] == ["ns/pod-0", "ns/pod-1"]


def test_devices_when_there_are_too_many_are_cut_to_the_limit(
    server: ScriptedServer, source: KubeletSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer of 16 MiB holds millions."""
    monkeypatch.setattr(module, "MAX_GRANTS", 3)
    grant(server, devices("a", "b"), devices("c", "d"))
    assert held(source) == [("ns/pod", ("a", "b", "c"), 1.0)]


def test_kubelet_when_it_is_too_old_is_told_so(
    server: ScriptedServer, source: KubeletSource
) -> None:
    del server.answers[LIST]
    with pytest.raises(SourceError, match=r"Kubernetes 1\.20"):
        source.workloads()


@pytest.mark.parametrize("method", [LIST, ALLOCATABLE])
def test_kubelet_when_it_fails_or_hangs_is_an_error_not_an_empty_list(
    server: ScriptedServer, source: KubeletSource, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(module, "QUERY_S", 0.2)
    grant(server, devices("GPU-a::0"))
    for answer, reason in (
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "^RESOURCE_EXHAUSTED: as the test asked"),
        (HANGS, r"took longer than 0\.2 seconds"),
        (b"\xff", "INTERNAL"),
    ):
        server.answers[method] = answer
        with pytest.raises(SourceError, match=reason):
            source.workloads()


def test_socket_when_it_is_missing_or_no_socket_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "kubelet.sock"
    assert not KubeletSource(path).present()
    path.write_text("")
    assert not KubeletSource(path).present()


def test_socket_when_a_kubelet_listens_is_present(source: KubeletSource) -> None:
    assert source.present()


NAMES = st.sampled_from(["", "a", "GPU-a", "GPU-a::0", "GPU-a::1", "b::7", "nvidia0/vgpu0", "::0"])
IDS = st.lists(NAMES | st.text(max_size=8), max_size=4)
CONTAINERS = st.lists(
    st.builds(lambda ids, cdi: devices(*ids) | claim(claimed(cdi)), IDS, IDS), max_size=3
)


@given(pods=st.lists(CONTAINERS, max_size=4), spare=IDS, seed=st.binary(max_size=64))
@settings(max_examples=100, deadline=None)
def test_grants_when_they_are_anything_give_shares_that_sum_to_one_gpu_at_most(
    scripted: ScriptedServer, pods: list[Any], spare: list[str], seed: bytes
) -> None:
    scripted.answers = {LIST: kubelet.ListPodResourcesResponse()}
    for number, containers in enumerate(pods):
        grant(scripted, *containers, pod=f"pod-{number}")
    allocatable(scripted, *spare)
    source = KubeletSource(scripted.socket)
    found = source.workloads()
    scripted.answers[LIST] = seed
    try:
        source.workloads()
    except SourceError as error:
        assert "\n" not in str(error)
    source.close()
    replicas = {name: w.share for w in found for name in w.devices if name.startswith("GPU-a::")}
    assert sum(replicas.values()) <= 1.0
    assert all(w.devices and 0.0 < w.share <= 1.0 for w in found)
