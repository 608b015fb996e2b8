"""Pods of a real containerd, as the agent finds them."""

from __future__ import annotations

import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuledger_agent.attribution import cgroup
from gpuledger_agent.attribution.base import AbsentError, Kind, SourceError, WorkloadRef
from gpuledger_agent.attribution.cri import CriSource
from gpuledger_agent.attribution.sources import catalogues
from tests.runtimes.containerd import CRI_PLUGIN, Containerd, Pod, running
from tests.runtimes.image import IMAGE

WANTED = ("GPULEDGER_TEAM", "GPULEDGER_MODEL")


@pytest.fixture
def source(containerd: Containerd) -> Iterator[CriSource]:
    found = CriSource(containerd.socket, WANTED.__contains__, devices=True)
    yield found
    found.close()


def container(pod: Pod) -> WorkloadRef:
    return WorkloadRef(Kind.POD, pod.container_id, "containerd", pod.uid)


def refs(pid: int) -> tuple[WorkloadRef, ...]:
    return cgroup.refs(Path(f"/proc/{pid}/cgroup").read_text())


def test_process_when_it_is_in_a_pod_leads_to_the_pods_name_labels_and_annotations(
    containerd: Containerd, source: CriSource
) -> None:
    with containerd.pod(
        "trainer-0", "vision", labels={"team": "vision"}, annotations={"example.com/cost": "a,b"}
    ) as pod:
        found = source.workload(refs(pod.pid)[-1])
    assert found is not None
    assert (found.kind, found.id) == (Kind.POD, pod.container_id)
    assert (found.name, found.namespace) == ("vision/trainer-0", "vision")
    assert found.labels == {
        "team": "vision",
        "example.com/cost": "a,b",
        "io.kubernetes.container.name": "main",
        "io.kubernetes.pod.name": "trainer-0",
        "io.kubernetes.pod.namespace": "vision",
        "io.kubernetes.pod.uid": pod.uid,
    }


def test_containers_when_listed_are_those_that_run(
    containerd: Containerd, source: CriSource
) -> None:
    with containerd.pod("one") as one, containerd.pod("two", "team-b") as two:
        listed = {w.id: w.name for w in source.workloads()}
        assert listed == {one.container_id: "default/one", two.container_id: "team-b/two"}
        containerd.stop_container(one)
        assert [w.id for w in source.workloads()] == [two.container_id]
    assert source.workloads() == []


def test_container_when_looked_up_is_described_as_when_listed(
    containerd: Containerd, source: CriSource
) -> None:
    other = CriSource(containerd.socket, WANTED.__contains__, devices=True)
    with containerd.pod("same", labels={"a": "b"}, env={"GPULEDGER_TEAM": "t"}) as pod:
        assert [other.workload(container(pod))] == source.workloads()
    other.close()


def test_container_when_it_has_exited_is_still_described(
    containerd: Containerd, source: CriSource
) -> None:
    with containerd.pod("done", labels={"team": "a"}, env={"GPULEDGER_TEAM": "b"}) as pod:
        containerd.stop_container(pod)
        found = source.workload(container(pod))
    assert found is not None
    assert found.labels["team"] == "a"
    assert found.environ == {"GPULEDGER_TEAM": "b"}


def test_container_when_it_was_removed_is_unknown(
    containerd: Containerd, source: CriSource
) -> None:
    with containerd.pod("gone") as pod:
        assert len(source.workloads()) == 1
    assert source.workloads() == []
    assert source.workload(container(pod)) is None


def test_container_when_the_cri_did_not_make_it_is_unknown(
    containerd: Containerd, source: CriSource
) -> None:
    with containerd.plain_container(f"plain-{uuid.uuid4()}") as pid:
        (ref,) = refs(pid)
        assert source.workload(ref) is None
        assert source.workloads() == []


def test_id_when_a_container_only_begins_with_it_is_unknown(
    containerd: Containerd, source: CriSource
) -> None:
    with containerd.pod("long") as pod:
        assert source.workload(WorkloadRef(Kind.CONTAINER, pod.container_id[:12])) is None
        assert source.workload(WorkloadRef(Kind.POD, pod.sandbox_id[:12])) is None


def test_pod_when_asked_by_uid_or_by_sandbox_is_described_by_its_own_labels(
    containerd: Containerd, source: CriSource
) -> None:
    with containerd.pod("p", "ns", labels={"team": "a"}, annotations={"x": "y"}) as pod:
        by_uid = source.workload(WorkloadRef(Kind.POD, "", pod_uid=pod.uid))
        by_sandbox = source.workload(WorkloadRef(Kind.POD, pod.sandbox_id, "containerd", pod.uid))
        assert source.workload(WorkloadRef(Kind.POD, "", pod_uid=str(uuid.uuid4()))) is None
    assert by_uid == by_sandbox
    assert by_uid is not None
    assert (by_uid.id, by_uid.name, by_uid.namespace) == (pod.sandbox_id, "ns/p", "ns")
    assert (by_uid.labels["team"], by_uid.labels["x"]) == ("a", "y")
    assert "io.kubernetes.container.name" not in by_uid.labels


def test_environment_when_read_holds_the_wanted_variables_alone(
    containerd: Containerd, source: CriSource
) -> None:
    env = {"GPULEDGER_TEAM": "tëam = a", "API_KEY": "secret", "GPULEDGER_MODEL": ""}
    with containerd.pod("env", env=env):
        (found,) = source.workloads()
    assert found.environ == {"GPULEDGER_TEAM": "tëam = a", "GPULEDGER_MODEL": ""}


def test_image_when_the_kubelet_named_it_by_id_is_named_by_its_tag(
    containerd: Containerd, source: CriSource
) -> None:
    with containerd.pod("image"):
        (found,) = source.workloads()
    assert found.image == IMAGE


def test_devices_when_the_pods_environment_names_them_are_split_and_else_verbatim(
    containerd: Containerd, source: CriSource
) -> None:
    with containerd.pod("gpu", env={"NVIDIA_VISIBLE_DEVICES": "GPU-5a,MIG-77,GPU-5a"}):
        (found,) = source.workloads()
    assert found.devices == ("GPU-5a", "MIG-77")


def test_devices_when_cdi_injects_them_are_its_names_of_gpus(
    containerd: Containerd, source: CriSource
) -> None:
    annotations = {
        "cdi.k8s.io/nvidia-device-plugin_1": "nvidia.com/gpu=1,nvidia.com/gpu=2",
        "cdi.k8s.io/other": "nvidia.com/gds=all,nvidia.com/gpu=,nvidia.com/gpu",
        "example.com/note": "nvidia.com/gpu=7",
    }
    env = {"NVIDIA_VISIBLE_DEVICES": "void"}
    with containerd.pod("cdi", container_annotations=annotations, env=env):
        (found,) = source.workloads()
    assert found.devices == ("nvidia.com/gpu=1", "nvidia.com/gpu=2")


def test_devices_when_the_kubelet_tells_them_are_left_to_it(containerd: Containerd) -> None:
    source = CriSource(containerd.socket, WANTED.__contains__, devices=False)
    with containerd.pod("gpu", env={"NVIDIA_VISIBLE_DEVICES": "GPU-5a"}):
        (found,) = source.workloads()
    source.close()
    assert found.devices == ()


def test_containerd_when_its_cri_plugin_is_off_is_absent_and_told_so_in_one_line() -> None:
    with running(disabled=[CRI_PLUGIN]) as without:
        source = CriSource(without.socket, WANTED.__contains__, devices=False)
        assert source.present()
        with pytest.raises(AbsentError, match="CRI plugin is switched off") as refused:
            source.workloads()
        source.close()
        [catalogue] = catalogues(["cri"], {"cri": without.socket}, WANTED.__contains__, time.time)
        catalogue.start()
        catalogue.settle(time.monotonic() + 10)
        catalogue.stop()
    assert "\n" not in str(refused.value)
    state = catalogue.state
    assert (state.present, state.failures, state.reason) == (False, 0, str(refused.value))


def test_source_when_no_socket_is_there_is_absent_and_says_why() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "cri.sock"
        source = CriSource(path, WANTED.__contains__, devices=False)
        assert not source.present()
        path.write_text("no socket")
        assert not source.present()
        path.unlink()
        with pytest.raises(SourceError, match="UNAVAILABLE"):
            source.workloads()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            assert source.present()
        with pytest.raises(SourceError, match="UNAVAILABLE"):
            source.workload(WorkloadRef(Kind.CONTAINER, "0" * 64))
        source.close()
