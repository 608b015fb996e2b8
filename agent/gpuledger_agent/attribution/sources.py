"""Which sources there are, and how each is found on this host. A new one is a line here."""

from __future__ import annotations

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
            "/run/containerd/containerd.sock",
            "/run/crio/crio.sock",
            "/run/k3s/containerd/containerd.sock",
            "/run/cri-dockerd.sock",
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
            source = SOCKETS[name]
            given = sockets.get(name)
            detect = _socket_detector(source, given, wants)
            made.append(Catalogue(name, detect, wall, _same_user(source, given)))
        elif name == "slurm":
            made.append(Catalogue(name, lambda: _slurm(wants), wall, _is_job))
    return made


def _socket_detector(
    source: SocketSource, given: Path | None, wants: Wants
) -> Callable[[], Source | None]:
    def detect() -> Source | None:
        if given is not None:
            return source.make(given, wants) if given.is_socket() else None
        paths = filter(_roots, map(Path, source.usual))
        return next((source.make(path, wants) for path in paths), None)

    return detect


def _same_user(source: SocketSource, given: Path | None) -> Callable[[WorkloadRef], bool]:
    """A user's runtime speaks for what lies below that user's own manager, root's for the rest."""

    def knows(ref: WorkloadRef) -> bool:
        return source.knows(ref) and ref.user == _user_of(given)

    return knows


def _user_of(socket: Path | None) -> int | None:
    try:
        return (socket.stat().st_uid or None) if socket else None
    except OSError:
        return None


def _is_job(ref: WorkloadRef) -> bool:
    return ref.kind is Kind.SLURM_JOB and ref.user is None


def _roots(path: Path) -> bool:
    """Whether this is a socket of root's: a user's own could lie about others' workloads."""
    try:
        found = path.stat()
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid == 0


def _slurm(wants: Wants) -> Source | None:
    source = SlurmSource(wants)
    return source if source.present() else None
