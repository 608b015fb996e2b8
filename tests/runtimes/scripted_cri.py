"""A scripted server that speaks the published CRI v1.

It has one container in one pod, until told otherwise.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpuledger_agent.attribution.base import Kind, Workload, WorkloadRef
from gpuledger_agent.attribution.cri import CriSource
from gpuledger_proto.kubernetes import cri_pb2 as cri
from tests.runtimes.scripted_grpc import ScriptedServer

CONTAINERS = "/runtime.v1.RuntimeService/ListContainers"
SANDBOXES = "/runtime.v1.RuntimeService/ListPodSandbox"
STATUS = "/runtime.v1.RuntimeService/ContainerStatus"

ID = "c" * 64
REF = WorkloadRef(Kind.POD, ID)


def new_source(server: ScriptedServer) -> CriSource:
    """A source that wants variables of ours, and tells devices."""
    return CriSource(server.socket, lambda name: name.startswith("GPULEDGER_"), devices=True)


def serve(
    server: ScriptedServer,
    containers: list[cri.Container] | None = None,
    sandboxes: list[cri.PodSandbox] | None = None,
    info: Any = None,
) -> None:
    """Answer so from now on; `info` is of every container's status."""
    server.answers = {
        CONTAINERS: cri.ListContainersResponse(containers=containers or [a_container()]),
        SANDBOXES: cri.ListPodSandboxResponse(items=sandboxes or [a_sandbox()]),
        STATUS: a_status(json.dumps(info or {}).encode()),
    }
    server.asked.clear()


def a_container(id_: str = ID, **fields: Any) -> cri.Container:
    """A container in the pod."""
    return cri.Container(id=id_, pod_sandbox_id="s", **fields)


def a_sandbox(id_: str = "s", **fields: Any) -> cri.PodSandbox:
    """The pod."""
    metadata = {"name": "pod", "namespace": "ns", "uid": "u"}
    return cri.PodSandbox(id=id_, metadata=metadata, **fields)


def a_status(info: bytes) -> cri.ContainerStatusResponse:
    """A container's status with this as its JSON."""
    return cri.ContainerStatusResponse(info={"info": info})


def only(source: CriSource) -> Workload:
    """The one workload there is."""
    (workload,) = source.workloads()
    return workload


@pytest.fixture(scope="session")
def scripted_cri() -> Iterator[ScriptedServer]:
    """The server, as the test before left it: `serve` begins anew."""
    with (
        tempfile.TemporaryDirectory() as directory,
        ScriptedServer(Path(directory) / "cri.sock") as server,
    ):
        yield server


@pytest.fixture
def cri_server(scripted_cri: ScriptedServer) -> ScriptedServer:
    """The server with its one container."""
    serve(scripted_cri)
    return scripted_cri


@pytest.fixture
def cri_source(cri_server: ScriptedServer) -> Iterator[CriSource]:
    """A source that has not asked it yet."""
    source = new_source(cri_server)
    yield source
    source.close()
