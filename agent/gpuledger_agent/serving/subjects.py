"""Who may be serving: the attributed workloads that have GPUs, and what processes they consist of.

A server is seldom the process on the GPU, but one beside it: of the same container, job or unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from gpuledger_agent.attribution import cgroup
from gpuledger_agent.attribution.attributor import Attribution
from gpuledger_agent.attribution.base import Kind, Workload
from gpuledger_agent.attribution.evidence import credible
from gpuledger_agent.attribution.rules import Named
from gpuledger_agent.processes import CGROUP_LIMIT, ProcessFacts
from gpuledger_agent.records import Owner

MAX_SUBJECTS = 1_024
"""Workloads that are looked at; a host has GPUs for far fewer."""

MAX_PROCESSES = 65_536
"""Processes of a host that are looked at."""

MAX_DEPTH = 64
"""Ancestors of a process that are looked at."""

_SESSION = "session"

Group = tuple[object, ...]
"""What the processes of a workload have in common and no others have."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A workload that may be serving. `metrics` says where, if anybody says.

    `pid` is a process of it on a GPU, 0 if none is known: then `group` tells its processes.
    """

    kind: Kind
    workload: str
    owner: Owner
    metrics: Named | None = None
    pid: int = 0
    group: Group = ()


class Subjects:
    """Gathers the workloads of one window: one subject for each, however many GPUs it has."""

    def __init__(self) -> None:
        self._found: dict[tuple[Kind, str, Group], Subject] = {}

    def process(self, facts: ProcessFacts, found: Attribution, owner: Owner) -> None:
        """A process on a GPU."""
        if facts.visible:
            group = _group_of(facts.cgroup)
            self._add(
                Subject(found.kind, found.workload, owner, found.metrics, facts.key.pid, group)
            )

    def grant(self, workload: Workload, found: Attribution, owner: Owner) -> None:
        """A workload that was granted a GPU."""
        if workload.id:
            group = (workload.kind, workload.id)
            self._add(Subject(found.kind, found.workload, owner, found.metrics, 0, group))

    def all(self) -> tuple[Subject, ...]:
        """All that were gathered."""
        return tuple(self._found.values())

    def _add(self, subject: Subject) -> None:
        key = subject.kind, subject.workload, subject.group
        known = self._found.get(key)
        if known is None and len(self._found) >= MAX_SUBJECTS:
            return
        # A process says more of its owner than its grant. Of several the first counts.
        if known is None or (subject.pid and not known.pid):
            self._found[key] = subject


def members(groups: AbstractSet[Group], proc: Path) -> dict[Group, list[int]]:
    """The processes of each of these groups, as there are now."""
    sessions = {group[1] for group in groups if group[0] == _SESSION}
    found: dict[Group, list[int]] = {group: [] for group in groups}
    named: dict[str, Group] = {}
    for pid, text in _cgroups(proc):
        if text not in named:
            named[text] = _group_of(text)
        group = named[text]
        if not group and text in sessions:
            group = _session(pid, text, proc)
        if group in found:
            found[group].append(pid)
    return found


def group_of(subject: Subject, proc: Path) -> Group:
    """What the processes of this workload have in common; () if it is gone."""
    if subject.group:
        return subject.group
    try:
        return _session(subject.pid, _cgroup(subject.pid, proc), proc)
    except OSError:
        return ()


def ancestors(pid: int, proc: Path) -> Iterator[int]:
    """The process itself, its parent and so on."""
    for _ in range(MAX_DEPTH):
        if pid <= 1:
            return
        yield pid
        try:
            pid = int(_stat(pid, proc)[1])
        except (OSError, ValueError, IndexError):
            return


def _group_of(text: str) -> Group:
    """The container, job or service that a /proc/PID/cgroup names; () if it names none.

    A login session, or no workload at all, says too little: there it is the session of processes.
    """
    refs = credible(cgroup.refs(text))
    if not refs:
        return ()
    inner = refs[-1]
    if inner.kind is not Kind.UNIT:
        return inner.kind, inner.id or inner.pod_uid
    return (text,) if inner.id.endswith(".service") else ()


def _session(pid: int, text: str, proc: Path) -> Group:
    """The session of a process (setsid(2)), with its cgroup and user; () if it is gone."""
    try:
        return _SESSION, text, int(_stat(pid, proc)[3]), (proc / str(pid)).stat().st_uid
    except (OSError, ValueError, IndexError):
        return ()


def _stat(pid: int, proc: Path) -> list[bytes]:
    """State, parent, group, session and so on (proc_pid_stat(5)). Raises OSError, ValueError."""
    raw = (proc / str(pid) / "stat").read_bytes()
    return raw[raw.rindex(b")") + 2 :].split()


def _cgroups(proc: Path) -> Iterator[tuple[int, str]]:
    pids = (int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal())
    for number, pid in enumerate(pids):
        if number >= MAX_PROCESSES:
            return
        try:
            text = _cgroup(pid, proc)
        except OSError:
            continue
        yield pid, text


def _cgroup(pid: int, proc: Path) -> str:
    with (proc / str(pid) / "cgroup").open("rb") as file:
        return file.read(CGROUP_LIMIT).decode("utf-8", "replace")
