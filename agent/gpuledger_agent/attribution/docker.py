"""Containers of Docker, and of Podman by its compatible API, over a unix socket."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from gpuledger_agent.attribution.base import (
    Kind,
    SourceError,
    Workload,
    WorkloadRef,
)
from gpuledger_agent.attribution.docker_api import Engine, is_id
from gpuledger_agent.attribution.docker_container import SANDBOX_ID, describe
from gpuledger_agent.attribution.labels import fitting
from gpuledger_agent.log import Once

log = logging.getLogger(__name__)


class DockerSource:
    """The running containers, by the runtime's socket; those of pods as their pods.

    `wants` says which environment variables to keep. A container is inspected once: its labels,
    environment and devices never change, and its name is in every list.
    """

    def __init__(self, socket: Path, wants: Callable[[str], bool], name: str = "docker") -> None:
        self._socket = socket
        self._wants = wants
        self._name = name
        self._known: dict[str, Workload] = {}
        self._unread: dict[str, bool] = {}
        """Containers to be inspected, in the order they were first listed; whether that failed."""
        self._once = Once(log)

    @property
    def name(self) -> str:
        """`docker` or `podman`, as configured."""
        return self._name

    def present(self) -> bool:
        """Whether the socket is there."""
        return self._socket.is_socket()

    def workloads(self) -> Sequence[Workload]:
        """The running containers. One that cannot be inspected now is left out until it can."""
        with Engine(self._socket) as engine:
            listed = engine.running()
            self._known = {i: known for i, known in self._known.items() if i in listed}
            # Lists begin with the newest: those that come without end must not keep others waiting.
            waiting = dict.fromkeys((*self._unread, *reversed(listed)))
            self._unread = {
                i: self._unread.get(i, False)
                for i in waiting
                if i in listed and i not in self._known
            }
            self._learn(engine)
        self._known = {i: _renamed(known, listed[i]) for i, known in self._known.items()}
        return list(self._known.values())

    def workload(self, ref: WorkloadRef) -> Workload | None:
        """A container, also one that ended and was not removed yet."""
        if ref.id in self._known or not is_id(ref.id):
            return self._known.get(ref.id)
        with Engine(self._socket) as engine:
            return self._inspect(engine, ref.id)

    def close(self) -> None:
        """Nothing is open between calls."""

    def _learn(self, engine: Engine) -> None:
        """Inspect what is new, as much as there is time for.

        Docker locks a container that hangs, and whoever inspects it waits. Such a one comes last.
        """
        for container_id in sorted(self._unread, key=self._unread.__getitem__):
            try:
                found = self._inspect(engine, container_id)
            except SourceError as error:
                if engine.over:
                    break
                self._cannot_read(container_id, str(error))
            else:
                del self._unread[container_id]
                self._once.over(
                    container_id, "event=container_read source=%s id=%s", self._name, container_id
                )
                if found is not None:
                    self._known[container_id] = found

    def _cannot_read(self, container_id: str, reason: str) -> None:
        self._unread[container_id] = True
        self._once.warning(
            container_id,
            "event=container_unread source=%s id=%s reason=%r its processes have no labels",
            *(self._name, container_id, reason),
        )

    def _inspect(self, engine: Engine, container_id: str) -> Workload | None:
        inspected = engine.inspect(container_id)
        if inspected is None:
            return None
        found = describe(container_id, inspected, self._wants)
        sandbox = found.labels.get(SANDBOX_ID, "") if found.kind is Kind.POD else ""
        if not is_id(sandbox) or sandbox == container_id:
            return found
        return replace(found, labels=self._pod_labels(engine, sandbox, found))

    def _pod_labels(self, engine: Engine, sandbox: str, container: Workload) -> dict[str, str]:
        """The pod's own labels, which its sandbox has, and the container's."""
        pod = self._known.get(sandbox)
        if pod is None:
            inspected = engine.inspect(sandbox)
            if inspected is None:
                return dict(container.labels)
            pod = describe(sandbox, inspected, self._wants)
        return fitting({**pod.labels, **container.labels})


def _renamed(known: Workload, name: str) -> Workload:
    """The same object while the name is the same. A pod's name is not its container's."""
    if known.kind is Kind.POD or name in ("", known.name):
        return known
    return replace(known, name=name)
