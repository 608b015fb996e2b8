"""What attribution is made of: workloads, what sources know of them, and the source's protocol.

A process lies in workloads (its cgroup path names them). Sources know workloads: a container
runtime, the kubelet, Slurm. What all sources together know is evidence; rules make an owner of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    """Kinds of workload, as the books name them."""

    PROCESS = "process"
    CONTAINER = "container"
    POD = "pod"
    SLURM_JOB = "slurm_job"
    UNIT = "unit"


@dataclass(frozen=True, slots=True)
class WorkloadRef:
    """A workload as a cgroup path names it.

    `id` is what its source knows it by: the container's id (also for a container in a pod), the
    job's number, the unit's name. `runtime` is what the path says of who made it: "docker",
    "containerd", "crio", "podman", "lxc", "nspawn", "slurm", "systemd", or "" if it does not tell.
    `pod_uid` is the Kubernetes pod's, with dashes as the API writes it (a static pod's has none).
    `user` is the uid of the user whose own service manager it lies below, who named it and could
    name it after anything; None outside of such.
    """

    kind: Kind
    id: str
    runtime: str = ""
    pod_uid: str = ""
    user: int | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """What one source knows of one workload.

    `id` as in WorkloadRef, where the source knows it. `name` is unique on the host among its
    kind and what people know it by: a container's name, `namespace/pod`, a job's number, a unit's
    name. `labels` hold labels and annotations as found. `environ` holds the variables that the
    agent wants, as the workload was started with. `devices` are the GPUs that it was granted, as
    the source names them (see grants.py): ordinals, UUIDs, CDI names, `all`. Where this host has
    not all of them, `counted` are meant: what the source itself says, if the names are another's
    word. `share` is the part of each of them that it may use.
    """

    kind: Kind
    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    namespace: str = ""
    user: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()
    share: float = 1.0


class SourceError(Exception):
    """A source that does not answer, or not what it should; says why in one line."""


class AbsentError(SourceError):
    """What answers in its place is another, and hardly becomes it: as good as no source."""


class Source(Protocol):
    """Lists workloads and their grants: a container runtime, the kubelet, Slurm.

    Called by one thread at a time, never by one that samples. Every call ends within seconds and
    raises SourceError, nothing else. What comes back is as found: whoever uses it cleans it.
    """

    @property
    def name(self) -> str:
        """Name of the source, as configured and as written into the books."""
        ...

    def present(self) -> bool:
        """Whether this host has it: its socket, its command. Cheap."""
        ...

    def workloads(self) -> Sequence[Workload]:
        """All that run now, at most MAX_WORKLOADS. Raises SourceError."""
        ...

    def workload(self, ref: WorkloadRef) -> Workload | None:
        """One, running or just ended; None if the source does not know it. Raises SourceError."""
        ...

    def close(self) -> None:
        """Let go of connections. Never raises."""
        ...


QUERY_S = 2.0
"""How long a source may take for one query."""

MAX_WORKLOADS = 4_096
"""Workloads of one source on one host; more are not looked at."""

MAX_VALUE_BYTES = 4_096
"""Bytes of a label, annotation or variable that are kept; longer values are dropped whole."""
