"""Containers of Kubernetes pods, from their runtime: containerd, CRI-O, or Docker by cri-dockerd.

A pod's labels and annotations are in its sandbox, so that no API server is asked. None of what is
read of a container or a sandbox changes in its life (a pod's later relabelling does not reach the
runtime): each is looked at once.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc

from gpuledger_agent.attribution import cdi
from gpuledger_agent.attribution.base import (
    MAX_VALUE_BYTES,
    MAX_WORKLOADS,
    QUERY_S,
    AbsentError,
    Kind,
    SourceError,
    Workload,
    WorkloadRef,
)
from gpuledger_agent.attribution.cri_info import Started, started
from gpuledger_agent.attribution.labels import fitting
from gpuledger_agent.attribution.unix_grpc import CallError, Deadline, UnixService
from gpuledger_proto.kubernetes import cri_pb2 as cri
from gpuledger_proto.kubernetes.cri_pb2_grpc import RuntimeServiceStub

STATUS_S = QUERY_S / 4
"""How long the status of one container among all may take."""

_RUNNING = cri.ContainerFilter(state=cri.ContainerStateValue(state=cri.CONTAINER_RUNNING))

_BARE_ID = re.compile(r"(sha256:)?[0-9a-f]{64}")

_NO_CRI = (
    "speaks no CRI v1: its CRI plugin is switched off (disabled_plugins of containerd's "
    "config.toml), or it is older than containerd 1.6 or CRI-O 1.23"
)

Question = TypeVar("Question")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Pod:
    name: str
    namespace: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class CriSource:
    """The running containers of all pods, by the runtime's socket.

    `wants` says which environment variables to keep. `devices` is whether to tell the GPUs that
    containers were given: not where the kubelet says that better.
    """

    name = "cri"

    def __init__(self, socket: Path, wants: Callable[[str], bool], *, devices: bool) -> None:
        self._service = UnixService(socket, RuntimeServiceStub)
        self._wants = wants
        self._devices = devices
        self._pods: dict[str, _Pod] = {}
        self._containers: dict[str, Workload] = {}

    def present(self) -> bool:
        """Whether the socket is there."""
        return self._service.present()

    def workloads(self) -> Sequence[Workload]:
        """The running containers. Environment and devices may be missing until the next time."""
        deadline = Deadline(QUERY_S)
        listed = self._list(_RUNNING, deadline)[:MAX_WORKLOADS]
        self._keep_only(listed)
        sandboxes = {c.pod_sandbox_id for c in listed}
        if sandboxes - self._pods.keys():
            found = self._sandboxes(cri.PodSandboxFilter(), deadline)
            self._pods |= {s.id: _pod(s) for s in found if s.id in sandboxes}
        # A container without a pod is one that began or ended between the two lists.
        inside = [
            (c, self._pods[c.pod_sandbox_id]) for c in listed if c.pod_sandbox_id in self._pods
        ]
        return [self._containers.get(c.id) or self._begun(c, pod, deadline) for c, pod in inside]

    def workload(self, ref: WorkloadRef) -> Workload | None:
        """A container, running or not; a pod, by its sandbox's id or, without one, by its uid."""
        if ref.kind not in (Kind.POD, Kind.CONTAINER):
            return None
        if not ref.id:
            return self._pod_of_uid(ref.pod_uid)
        return self._containers.get(ref.id) or self._look_up(ref.id)

    def close(self) -> None:
        """Close the connection. Never raises."""
        self._service.close()

    def _keep_only(self, listed: Sequence[cri.Container]) -> None:
        ids, sandboxes = {c.id for c in listed}, {c.pod_sandbox_id for c in listed}
        self._containers = {id_: w for id_, w in self._containers.items() if id_ in ids}
        self._pods = {id_: pod for id_, pod in self._pods.items() if id_ in sandboxes}

    def _begun(self, container: cri.Container, pod: _Pod, deadline: Deadline) -> Workload:
        """A container seen for the first time, or without its status if that is not to be had."""
        try:
            # One that hangs must not keep all others from being read.
            status = self._status(container.id, Deadline(min(deadline.left(), STATUS_S)))
        except SourceError:
            return self._made(container, pod, cri.ContainerStatusResponse())
        workload = self._containers[container.id] = self._made(container, pod, status)
        return workload

    def _look_up(self, id_: str) -> Workload | None:
        deadline = Deadline(QUERY_S)
        try:
            # The filter takes what an id begins with, too.
            for container in self._list(cri.ContainerFilter(id=id_), deadline):
                if container.id == id_:
                    return self._looked_up(container, deadline)
            sandboxes = self._sandboxes(cri.PodSandboxFilter(id=id_), deadline)
        except CallError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        return next((_pod_workload(s) for s in sandboxes if s.id == id_), None)

    def _looked_up(self, container: cri.Container, deadline: Deadline) -> Workload | None:
        sandbox = container.pod_sandbox_id
        pods = self._sandboxes(cri.PodSandboxFilter(id=sandbox), deadline)
        status = self._status(container.id, deadline)
        return next((self._made(container, _pod(s), status) for s in pods if s.id == sandbox), None)

    def _pod_of_uid(self, uid: str) -> Workload | None:
        if not uid:
            return None
        sandboxes = self._sandboxes(cri.PodSandboxFilter(), Deadline(QUERY_S))
        # A pod whose sandbox died gets another.
        latest = max(
            (s for s in sandboxes if s.metadata.uid == uid),
            key=lambda s: (s.state == cri.SANDBOX_READY, s.created_at),
            default=None,
        )
        return None if latest is None else _pod_workload(latest)

    def _made(
        self, container: cri.Container, pod: _Pod, status: cri.ContainerStatusResponse
    ) -> Workload:
        begun = started(status.info, self._wants)
        annotations = _texts(container.annotations)
        return Workload(
            kind=Kind.POD,
            id=container.id,
            name=f"{pod.namespace}/{pod.name}",
            # The container's own before the pod's: they say more of it.
            labels=_merged(_texts(container.labels), pod.labels, annotations, pod.annotations),
            image=_image(container, status.status.image),
            namespace=pod.namespace,
            environ=begun.environ,
            devices=_granted(begun, annotations) if self._devices else (),
        )

    def _list(self, which: cri.ContainerFilter, deadline: Deadline) -> Sequence[cri.Container]:
        question = cri.ListContainersRequest(filter=which)
        return self._ask(self._service.stub.ListContainers, question, deadline).containers

    def _sandboxes(
        self, which: cri.PodSandboxFilter, deadline: Deadline
    ) -> Sequence[cri.PodSandbox]:
        question = cri.ListPodSandboxRequest(filter=which)
        return self._ask(self._service.stub.ListPodSandbox, question, deadline).items

    def _status(self, id_: str, deadline: Deadline) -> cri.ContainerStatusResponse:
        question = cri.ContainerStatusRequest(container_id=id_, verbose=True)
        return self._ask(self._service.stub.ContainerStatus, question, deadline)

    def _ask(
        self,
        method: grpc.UnaryUnaryMultiCallable[Question, Answer],
        question: Question,
        deadline: Deadline,
    ) -> Answer:
        try:
            return self._service.ask(method, question, deadline)
        except CallError as error:
            if error.code is grpc.StatusCode.UNIMPLEMENTED:
                raise AbsentError(_NO_CRI) from None
            raise


def _pod(sandbox: cri.PodSandbox) -> _Pod:
    return _Pod(
        name=sandbox.metadata.name,
        namespace=sandbox.metadata.namespace,
        labels=_texts(sandbox.labels),
        annotations=_texts(sandbox.annotations),
    )


def _pod_workload(sandbox: cri.PodSandbox) -> Workload:
    pod = _pod(sandbox)
    return Workload(
        kind=Kind.POD,
        id=sandbox.id,
        name=f"{pod.namespace}/{pod.name}",
        labels=_merged(pod.labels, pod.annotations),
        namespace=pod.namespace,
    )


def _granted(begun: Started, annotations: Mapping[str, str]) -> tuple[str, ...]:
    """The GPUs that a container was given, as its start names them: CDI first, which is exact."""
    injected = (
        name.strip()
        for key, value in annotations.items()
        if key.startswith(cdi.ANNOTATION)
        for name in value.split(",")
    )
    names = [name for name in (*begun.cdi, *injected) if cdi.is_gpu(name)]
    visible = (name.strip() for name in begun.visible.split(","))
    return tuple(dict.fromkeys(names or (name for name in visible if name)))


def _image(container: cri.Container, status: cri.ImageSpec) -> str:
    """The image by the name that people know it by, by its id where nothing else is told."""
    told = (
        container.image.user_specified_image,
        status.user_specified_image,
        status.image,
        container.image.image,
        container.image_ref,
    )
    fit = [name for name in told if name and len(name.encode()) <= MAX_VALUE_BYTES]
    return next((name for name in fit if not _BARE_ID.fullmatch(name)), fit[0] if fit else "")


def _texts(found: Mapping[str, bytes]) -> dict[str, str]:
    """Labels as text, in the order of their keys, without what is too long."""
    return {
        key: value.decode("utf-8", "replace")
        for key, value in sorted(found.items())
        if len(key.encode()) <= MAX_VALUE_BYTES >= len(value)
    }


def _merged(*layers: Mapping[str, str]) -> dict[str, str]:
    """All labels together, as many as are kept; the first to have a key decides it."""
    return fitting(ChainMap(*map(dict, layers)))
