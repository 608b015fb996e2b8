"""Which sources there are, and how each is found on this host. A new one is a line here."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpuledger_agent.attribution.base import Kind, Source, WorkloadRef
from gpuledger_agent.attribution.catalogue import Catalogue
from gpuledger_agent.attribution.cri import CriSource
from gpuledger_agent.attribution.docker import DockerSource
from gpuledger_agent.attribution.kubelet import KubeletSource
from gpuledger_agent.attribution.slurm import SlurmSource

Wants = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class SocketSource:
    """A source behind a socket: where that usually is, what speaks to it, what it knows of."""

    usual: tuple[str, ...]
    make: Callable[[Path, Wants], Source]
    knows: Callable[[WorkloadRef], bool]


SOCKETS = {
    "docker": SocketSource(
        ("/run/docker.sock",),
        DockerSource,
        lambda ref: ref.runtime in {"", "docker"},
    ),
    "podman": SocketSource(
        ("/run/podman/podman.sock",),
        lambda path, wants: DockerSource(path, wants, "podman"),
        lambda ref: ref.kind is Kind.CONTAINER and ref.runtime in {"", "podman"},
    ),
    "cri": SocketSource(
        (
            "/run/crio/crio.sock",
            "/run/k3s/containerd/containerd.sock",  # RKE2's too
            "/run/k0s/containerd.sock",
            "/var/snap/microk8s/common/run/containerd.sock",
            "/run/cri-dockerd.sock",
            "/run/containerd/containerd.sock",  # last: wherever Docker is, there is this as well
        ),
        lambda path, wants: CriSource(path, wants, devices=True),
        lambda ref: ref.kind is Kind.POD,
    ),
    "kubelet": SocketSource(
        ("/var/lib/kubelet/pod-resources/kubelet.sock",),
        lambda path, _: KubeletSource(path),
        lambda _: False,
    ),
}


NOBODY = -1
"""Whose a socket is that was never there. No user has this uid."""


class _Place:
    """Where a source's socket is: `given` by the operator, else a usual place where root made it.

    `user` can say there what he likes, and is heard on his own workloads only; None: root.
    """

    def __init__(self, source: SocketSource, given: Path | None, wants: Wants) -> None:
        self._source = source
        self._given = given
        self._wants = wants
        self.user = None if given is None else NOBODY

    def detect(self) -> Source | None:
        """The source, if it is there. Also finds out whose it is; that does not change."""
        if self._given is None:
            paths = (path for path in map(Path, self._source.usual) if _owner(path) == 0)
            return next((self._source.make(path, self._wants) for path in paths), None)
        if _owner(self._given) is None:
            return None
        self.user = _user_of(self._given)
        return self._source.make(self._given, self._wants)

    def knows(self, ref: WorkloadRef) -> bool:
        """Whether the source can know this workload, and is to be believed."""
        return self._source.knows(ref) and ref.user == self.user

    def speaks_for_host(self) -> bool:
        """Whether its grants count: root's do, and those of who runs the agent."""
        return self.user in (None, os.geteuid())


def catalogues(
    names: Sequence[str],
    sockets: Mapping[str, Path],
    wants: Wants,
    wall: Callable[[], float],
) -> list[Catalogue]:
    """A catalogue for each of these sources. `sockets`: where an operator says that one is."""
    made = []
    for name in names:
        if name in SOCKETS:
            place = _Place(SOCKETS[name], sockets.get(name), wants)
            made.append(Catalogue(name, place.detect, wall, place.knows, place.speaks_for_host))
        elif name == "slurm":
            made.append(Catalogue(name, lambda: _slurm(wants), wall, _is_job))
    return made


def _owner(path: Path) -> int | None:
    """User id of a socket's owner, None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_uid if stat.S_ISSOCK(found.st_mode) else None


def _user_of(path: Path) -> int | None:
    """The user who can put there what he likes, None if only root can.

    It is not enough to look at the socket: in his own directory he can replace it by a link to
    root's, or take it away, just when somebody looks.
    """
    path, real = path.absolute(), path.resolve()
    try:
        owners = [one.lstat().st_uid for one in (path, *path.parents, real, *real.parents)]
    except OSError:
        return NOBODY
    return next((uid for uid in owners if uid), None)


def _is_job(ref: WorkloadRef) -> bool:
    return ref.kind is Kind.SLURM_JOB and ref.user is None


def _slurm(wants: Wants) -> Source | None:
    source = SlurmSource(wants)
    return source if source.present() else None
