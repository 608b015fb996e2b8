"""The workloads that a process lies in, as the paths of its cgroups name them (cgroups(7)).

Runtimes and schedulers give every workload a cgroup and put the workload's id into its name. Of the
names only those of the table below mean anything. It needs no root and asks nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from gpuledger_agent.attribution.base import Kind, WorkloadRef

MAX_LINES = 64
"""Lines of /proc/PID/cgroup that are looked at. A kernel has one per hierarchy, some fifteen."""

MAX_PATH = 4_096
"""Characters of a cgroup's path; the kernel shows no longer one."""

MAX_DEPTH = 8
"""Workloads inside one another; those further in are not looked at."""

_ID = "[0-9a-f]{64}"
_POD = "[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"  # a static pod: no dashes
_NAME = "[^/]{1,255}"


class Pattern(NamedTuple):
    """Names of one or more cgroups, one inside the other, that stand for a workload.

    `names` is a regular expression for whole names, its one group the workload's id.
    """

    kind: Kind
    runtime: str
    names: str


PATTERNS = (
    # /kubepods/burstable/pod15513b48-e7a5-48fc-b9e3-92f713f36504
    Pattern(Kind.POD, "", rf"pod({_POD})"),
    # /kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod9692aa0e_748e_..._8df6.slice
    # /kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1858680e_b044_..._2180.slice
    Pattern(Kind.POD, "", rf"(?:{_NAME}-)?kubepods(?:-besteffort|-burstable)?-pod({_POD})\.slice"),
    # /docker/ae3b5c50...04ab  /system.slice/docker-b508e267...8f05.scope
    Pattern(Kind.CONTAINER, "docker", rf"docker[/-]({_ID})(?:\.scope)?"),
    # /ecs/55091c13-b8cf-4801-b527-f4601742204d/432624d2...a7da  /ecs/CLUSTER/TASK/ID
    Pattern(Kind.CONTAINER, "docker", rf"ecs/(?:{_NAME}/){{1,2}}({_ID})"),
    # .../kubepods-pod1858680e_....slice/cri-containerd-2b180104...c40e.scope
    # /system.slice/nerdctl-3f2a9c1b...9e0d.scope
    Pattern(Kind.CONTAINER, "containerd", rf"(?:cri-containerd|nerdctl)-({_ID})(?:\.scope)?"),
    # /default/vllm-smoke.1: containerd's namespace and the container's name. Services have
    # directories of such names too.
    Pattern(
        Kind.CONTAINER,
        "containerd",
        r"(?<!\.service/)(?:default|k8s\.io)/([A-Za-z0-9][A-Za-z0-9_.-]{0,75})",
    ),
    # .../kubepods-burstable-poda5c1f8d5_....slice/crio-5eed9175...5f1c.scope
    Pattern(Kind.CONTAINER, "crio", rf"crio-({_ID})(?:\.scope)?"),
    # /machine.slice/libpod-24fce729...cec5.scope/container  /libpod_parent/libpod-4a225ce0...66f8
    # /system.slice/nginx.service/libpod-payload-9687bac5...f869
    Pattern(Kind.CONTAINER, "podman", rf"libpod-(?:payload-)?({_ID})(?:\.scope)?"),
    # /lxc/101/ns  /lxc.payload.web1/init.scope  /lxc.payload/web1
    Pattern(Kind.CONTAINER, "lxc", rf"(?:lxc/|lxc\.payload[./])({_NAME})"),
    # /machine.slice/machine-my\x2dbox.scope; libvirt's are virtual machines, or not nspawn's
    Pattern(Kind.CONTAINER, "nspawn", rf"machine-(?!(?:qemu|lxc)(?:-|\\x2d)\d)({_NAME})\.scope"),
    # /machine.slice/systemd-nspawn@jammy.service/payload
    Pattern(Kind.CONTAINER, "nspawn", rf"systemd-nspawn@({_NAME})\.service"),
    # /slurm/uid_2101171/job_280678/step_interactive/task_0  /slurm_n012/uid_1634/job_799377/...
    Pattern(Kind.SLURM_JOB, "slurm", rf"slurm(?:_{_NAME})?/uid_[0-9]{{1,10}}/job_([0-9]{{1,10}})"),
    # /system.slice/slurmstepd.scope/job_1392969/step_0/user/task_0
    Pattern(Kind.SLURM_JOB, "slurm", rf"(?:{_NAME}_)?slurmstepd\.scope/job_([0-9]{{1,10}})"),
    # /system.slice/slurmstepd.scope/sEKNKTV3WPV500: Slurm 26.05 names jobs by SLUID
    Pattern(Kind.SLURM_JOB, "slurm", rf"(?:{_NAME}_)?slurmstepd\.scope/(s[0-9A-Z]{{13}})"),
    # /batch/gpu/0ab60856...4beb: any runtime, told to use that parent. Podman's pods are none.
    Pattern(Kind.CONTAINER, "", rf"(?<!/libpod_parent/)({_ID})"),
    # /system.slice/vllm.service  /user.slice/user-1000.slice/session-3.scope
    Pattern(Kind.UNIT, "systemd", r"(?!init\.scope(?:/|$))([^/]{1,247}\.(?:service|scope))"),
)
"""Where several begin with the same name, the first one decides."""

_ANY = re.compile("/(?:" + "|".join(pattern.names for pattern in PATTERNS) + ")(?=/|$)")
_SLICE_FORM = re.compile(r"\.slice:([a-z-]{1,32}):")  # meant for systemd, taken for a name
_ESCAPED = re.compile(r"\\x([2-7][0-9a-f])")  # systemd.unit(5)
_USER_MANAGER = re.compile(r"user@([0-9]{1,10})\.service")


def refs(text: str) -> tuple[WorkloadRef, ...]:
    """The workloads that a process lies in, outermost first.

    `text` is its /proc/PID/cgroup. A process may lie in other cgroups for each controller; the path
    that tells most decides. A container of a pod is one ref, of the pod. A systemd unit counts only
    where there is nothing else. Empty if no name means anything. Never raises.
    """
    readings = (_read(path) for path in _paths(text))
    return max(readings, key=_worth, default=_Reading("", (), None)).refs


class _Reading(NamedTuple):
    """What one path says. `user`: whose own manager made these names, and could make any."""

    path: str
    refs: tuple[WorkloadRef, ...]
    user: int | None


def _paths(text: str) -> set[str]:
    """The distinct paths, but for the root. Lines are "number:controllers:path"."""
    fields = (line.split(":", 2) for line in text.split("\n", MAX_LINES)[:MAX_LINES])
    paths = {field[2].removesuffix(" (deleted)") for field in fields if len(field) == 3}
    return {path for path in paths if 1 < len(path) <= MAX_PATH}


def _read(path: str) -> _Reading:
    found: list[WorkloadRef] = []
    unit, pod_end = "", -1
    user: int | None = None
    for pattern, name, match in _matches(_SLICE_FORM.sub(r".slice/\1-", path)):
        if pattern.kind is Kind.UNIT:
            unit = name
            manager = None if found else _USER_MANAGER.fullmatch(name)
            user = int(manager[1]) if manager and user is None else user
        elif user is not None and (pattern.kind is not Kind.CONTAINER or not pattern.runtime):
            # Users name cgroups below their manager as they like: no pods and jobs of others here.
            continue
        elif pattern.kind is Kind.POD:
            found.append(WorkloadRef(Kind.POD, "", pod_uid=name.replace("_", "-")))
            pod_end = match.end()
        elif match.start() == pod_end and pattern.kind is Kind.CONTAINER:
            found[-1] = WorkloadRef(Kind.POD, name, pattern.runtime, found[-1].pod_uid)
        else:
            found.append(WorkloadRef(pattern.kind, name, pattern.runtime, user=user))
    if not found and unit:
        found.append(WorkloadRef(Kind.UNIT, unit, "systemd", user=user))
    return _Reading(path, tuple(found[:MAX_DEPTH]), user)


def _matches(path: str) -> Iterator[tuple[Pattern, str, re.Match[str]]]:
    for match in _ANY.finditer(path):
        number = match.lastindex or 0  # each pattern has one group, so this tells which it was
        pattern, name = PATTERNS[number - 1], match[number]
        if pattern.kind is Kind.UNIT:
            name = name.removeprefix("_")  # put there by systemd before names that clash with files
        elif pattern.runtime == "nspawn":
            name = _ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), name)
        yield pattern, name, match


def _worth(reading: _Reading) -> tuple[int, int, bool, int, str]:
    """How much a path tells, most of all of what users cannot make up."""
    workloads = [ref for ref in reading.refs if ref.kind is not Kind.UNIT]
    told = sum(bool(ref.id) + bool(ref.pod_uid) + bool(ref.runtime) for ref in workloads)
    trusted = told if reading.user is None else 0
    return trusted, told, bool(reading.refs), len(reading.path), reading.path
