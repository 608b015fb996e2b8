"""GPUs that the kubelet granted to pods, by its PodResources socket.

Device plugins and DRA drivers name devices as they like: a UUID (`GPU-…`, `MIG-…`), one of several
replicas of a shared GPU (`GPU-…::3`; on GKE `nvidia0/vgpu3`), a node under /dev (`nvidia0`), a CDI
name, or a name in the driver's pool (`gpu-0`, by the minor number). They are passed on as they are.

Kubelets before 1.34 also list pods that have ended but are not yet deleted
(https://github.com/kubernetes/kubernetes/issues/119423).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import grpc

from gpuledger_agent.attribution import cdi
from gpuledger_agent.attribution.base import (
    MAX_WORKLOADS,
    QUERY_S,
    Kind,
    SourceError,
    Workload,
    WorkloadRef,
)
from gpuledger_agent.attribution.unix_grpc import CallError, Deadline, UnixService
from gpuledger_proto.kubernetes import podresources_pb2 as kubelet
from gpuledger_proto.kubernetes.podresources_pb2_grpc import PodResourcesListerStub

RESOURCES = "nvidia.com/"
"""How the names of resources begin that are GPUs, whole, shared or parts."""

DRA_DRIVER = "gpu.nvidia.com"
"""NVIDIA's driver for GPUs; compute-domain.nvidia.com hands out channels between them."""

MAX_GRANTS = 65_536
"""Devices of all pods together; more are not looked at."""

_REPLICA = re.compile(r"(.+)(?:::|/vgpu)[0-9]+")

_NO_V1 = "speaks no PodResources v1: Kubernetes 1.20 or newer is needed"

_CANNOT_SAY = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN)
"""What kubelets before 1.23 answer when asked what there is to grant."""


class KubeletSource:
    """Pods that hold GPUs, by namespace and name: it knows no container ids and no labels."""

    name = "kubelet"

    def __init__(self, socket: Path) -> None:
        self._service = UnixService(socket, PodResourcesListerStub)

    def present(self) -> bool:
        """Whether the socket is there."""
        return self._service.present()

    def workloads(self) -> Sequence[Workload]:
        """Pods with GPUs; a pod once for each share, where it holds GPUs whole and in parts."""
        deadline = Deadline(QUERY_S)
        granted = list(islice(self._granted(deadline), MAX_GRANTS))
        devices = [device for _, _, device in granted]
        shared = any(_shared(device) for device in devices)
        allocatable = self._allocatable(deadline) if shared else None
        # Granted ones too: those of a sick GPU are not allocatable.
        replicas = _replicas([*allocatable, *devices]) if allocatable is not None else {}
        return _workloads(granted, replicas)[:MAX_WORKLOADS]

    def workload(self, ref: WorkloadRef) -> Workload | None:  # noqa: ARG002  # the protocol's
        """None: the kubelet does not say which containers or uids its pods have."""
        return None

    def close(self) -> None:
        """Close the connection. Never raises."""
        self._service.close()

    def _granted(self, deadline: Deadline) -> Iterator[tuple[str, str, str]]:
        """Namespace, name and device of each grant."""
        try:
            answer = self._service.ask(
                self._service.stub.List, kubelet.ListPodResourcesRequest(), deadline
            )
        except CallError as error:
            if error.code is grpc.StatusCode.UNIMPLEMENTED:
                raise SourceError(_NO_V1) from None
            raise
        for pod in answer.pod_resources:
            for container in pod.containers:
                for device in filter(None, _devices(container)):
                    yield pod.namespace, pod.name, device

    def _allocatable(self, deadline: Deadline) -> list[str] | None:
        """All healthy devices, granted or not; None if this kubelet cannot say."""
        try:
            answer = self._service.ask(
                self._service.stub.GetAllocatableResources,
                kubelet.AllocatableResourcesRequest(),
                deadline,
            )
        except CallError as error:
            if error.code in _CANNOT_SAY:
                return None
            raise
        return list(islice(_plugin_devices(answer.devices), MAX_GRANTS))


def _devices(container: kubelet.ContainerResources) -> Iterator[str]:
    yield from _plugin_devices(container.devices)
    for claim in container.dynamic_resources:
        for resource in claim.claim_resources:
            yield from _claimed(resource)


def _plugin_devices(devices: Iterable[kubelet.ContainerDevices]) -> Iterator[str]:
    for resource in devices:
        if resource.resource_name.startswith(RESOURCES):
            yield from resource.device_ids


def _claimed(resource: kubelet.ClaimResource) -> Iterator[str]:
    names = [device.name for device in resource.cdi_devices]
    if resource.driver_name == DRA_DRIVER:
        # All CDI names of one resource mean the same device.
        yield names[0] if names else resource.device_name
    elif not resource.driver_name:
        yield from filter(cdi.is_gpu, names)


def _shared(device: str) -> str:
    """The GPU of which this is one of several replicas; empty if it is not."""
    replica = _REPLICA.fullmatch(device)
    return replica[1] if replica else ""


def _replicas(devices: Iterable[str]) -> Counter[str]:
    """How many replicas each shared GPU has."""
    return Counter(filter(None, map(_shared, set(devices))))


def _workloads(
    granted: Iterable[tuple[str, str, str]], replicas: Mapping[str, int]
) -> list[Workload]:
    devices: dict[tuple[str, str, float], dict[str, None]] = {}
    for namespace, name, device in granted:
        share = 1.0 / replicas.get(_shared(device), 1)
        devices.setdefault((namespace, name, share), {})[device] = None
    return [
        Workload(
            kind=Kind.POD,
            id="",
            name=f"{namespace}/{name}",
            namespace=namespace,
            devices=tuple(held),
            share=share,
        )
        for (namespace, name, share), held in devices.items()
    ]
