"""What CriSource makes of what runtimes answer; a scripted server plays them."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from gpuledger_agent.attribution.base import Kind, WorkloadRef
from gpuledger_agent.attribution.cri import CriSource
from gpuledger_agent.check_owners import sources
from gpuledger_agent.check_result import Verdict
from gpuledger_agent.clock import SteadyClock
from gpuledger_agent.config import AgentConfig
from gpuledger_agent.daemon import make_attributor
from gpuledger_proto.kubernetes import cri_pb2 as cri
from tests.runtimes.scripted_cri import (
    CONTAINERS,
    REF,
    SANDBOXES,
    STATUS,
    a_container,
    a_sandbox,
    only,
    serve,
)
from tests.runtimes.scripted_grpc import ScriptedServer

DIGEST = "sha256:" + "0" * 64


def test_label_when_the_container_and_its_pod_have_it_is_the_containers(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    serve(
        cri_server,
        [a_container(labels={"a": b"container"}, annotations={"b": b"container's", "c": b"no"})],
        [a_sandbox(labels={"a": b"pod", "b": b"pod", "c": b"pod"}, annotations={"d": b"pod's"})],
    )
    assert only(cri_source).labels == {"a": "container", "b": "pod", "c": "pod", "d": "pod's"}


def test_devices_when_cri_o_tells_the_specification_alone_are_those_of_the_environment(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    env = ["NVIDIA_VISIBLE_DEVICES=GPU-1, GPU-2", "GPULEDGER_TEAM=a"]
    serve(cri_server, info={"sandboxID": "s", "pid": 7, "runtimeSpec": {"process": {"env": env}}})
    found = only(cri_source)
    assert found.devices == ("GPU-1", "GPU-2")
    assert found.environ == {"GPULEDGER_TEAM": "a"}


def test_environment_when_the_configuration_alone_is_told_is_what_the_pod_asked_for(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    envs = [{"key": "GPULEDGER_TEAM", "value": "a"}, {"key": "PATH", "value": "/bin"}]
    serve(cri_server, info={"config": {"envs": envs}})
    assert only(cri_source).environ == {"GPULEDGER_TEAM": "a"}


@pytest.mark.parametrize(
    ("config", "runtime", "devices"),
    [
        ({}, "", ()),
        ({}, "/usr/bin/nvidia-container-runtime", ("all",)),
        ({"envs": [{"key": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]}, "", ("all",)),
        ({"CDI_devices": [{"name": "nvidia.com/gpu=0"}]}, "", ("nvidia.com/gpu=0",)),
    ],
)
def test_devices_when_the_image_says_all_count_only_if_somebody_gives_them(
    cri_server: ScriptedServer,
    cri_source: CriSource,
    config: Any,
    runtime: str,
    devices: tuple[str, ...],
) -> None:
    spec = {"process": {"env": ["NVIDIA_VISIBLE_DEVICES=all"]}}
    options = {"binary_name": runtime}
    serve(cri_server, info={"config": config, "runtimeSpec": spec, "runtimeOptions": options})
    assert only(cri_source).devices == devices


@pytest.mark.parametrize(
    ("listed", "status", "image"),
    [
        ({"image": DIGEST, "user_specified_image": "vllm:1"}, {"image": "vllm:latest"}, "vllm:1"),
        ({"image": DIGEST}, {"image": "vllm:1"}, "vllm:1"),
        ({"image": DIGEST}, {"image": DIGEST}, "reg/vllm@" + DIGEST),
        ({"image": "0" * 64}, {}, "reg/vllm@" + DIGEST),
    ],
)
def test_image_when_named_in_several_ways_is_by_what_people_call_it(
    cri_server: ScriptedServer, cri_source: CriSource, listed: Any, status: Any, image: str
) -> None:
    serve(cri_server, [a_container(image=listed, image_ref="reg/vllm@" + DIGEST)])
    cri_server.answers[STATUS] = cri.ContainerStatusResponse(status={"image": status})
    assert only(cri_source).image == image


def test_container_when_known_is_not_asked_for_again_until_it_is_gone(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    first = only(cri_source)
    assert only(cri_source) is first
    assert cri_source.workload(REF) is first
    assert cri_server.asked == {CONTAINERS: 2, SANDBOXES: 1, STATUS: 1}
    cri_server.answers[CONTAINERS] = cri.ListContainersResponse()
    assert cri_source.workloads() == []
    serve(cri_server)
    assert only(cri_source) == first
    assert cri_server.asked == {CONTAINERS: 1, SANDBOXES: 1, STATUS: 1}


def test_container_when_its_pod_is_not_listed_is_left_out(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    serve(cri_server, sandboxes=[a_sandbox("another")])
    assert cri_source.workloads() == []
    assert cri_source.workload(REF) is None


def test_pod_when_it_got_another_sandbox_is_the_ready_or_else_the_newest_one(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    dead, newer = (a_sandbox(f"dead-{n}", state=cri.SANDBOX_NOTREADY, created_at=n) for n in (1, 2))
    ready = a_sandbox("ready", created_at=0)
    ref = WorkloadRef(Kind.POD, "", pod_uid="u")
    for sandboxes, expected in (([dead, ready, newer], "ready"), ([dead, newer], "dead-2")):
        serve(cri_server, sandboxes=sandboxes)
        found = cri_source.workload(ref)
        assert found is not None
        assert found.id == expected


def test_ref_when_it_cannot_be_a_containers_is_not_asked_for(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    for ref in (WorkloadRef(Kind.SLURM_JOB, "7"), WorkloadRef(Kind.UNIT, "a.service")):
        assert cri_source.workload(ref) is None
    assert cri_source.workload(WorkloadRef(Kind.POD, "", pod_uid="")) is None
    assert not cri_server.asked


def test_lookup_when_the_runtime_answers_not_found_is_none(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    cri_server.answers[CONTAINERS] = grpc.StatusCode.NOT_FOUND
    assert cri_source.workload(REF) is None


def test_check_when_a_runtime_speaks_no_cri_then_the_host_has_no_such_source_and_all_is_well(
    cri_server: ScriptedServer,
) -> None:
    cri_server.answers = {}
    config = AgentConfig(sources=("cri",), sockets={"cri": cri_server.socket}, spool=None)
    attributor = make_attributor(config, SteadyClock())
    attributor.start()
    attributor.settle()
    [told] = sources(attributor)
    attributor.stop()
    assert (told.verdict, told.remedy) == (Verdict.OK, "")
    assert told.text.startswith("not on this host: its socket speaks no CRI v1: ")
