"""Which listening sockets of the workloads may be inference servers, how they were found, why not.

Nothing is asked here. A socket counts that a process of the workload holds, or that is in a network
namespace of the workload's own; so nobody can send the agent anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from gpuledger_agent.serving.families import Family
from gpuledger_agent.serving.network import (
    Listener,
    listeners,
    namespace,
    shared_namespaces,
    sockets_of,
)
from gpuledger_agent.serving.place import Place, PlaceError, place
from gpuledger_agent.serving.subjects import Group, Subject, ancestors, group_of, members

MAX_CANDIDATES = 128
"""Of a host."""

MAX_EACH = 8
"""Of a workload; more are not asked."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A listener that may be a server. `paths` are to be tried in order; `how` it was found.

    `pid` is in its network namespace. `link` in /proc says that a process still holds it, "" if
    no process of the workload is known to. `said` is whether anybody said that it is one.
    """

    subject: Subject
    group: Group
    listener: Listener
    namespace: int
    pid: int
    link: str
    paths: tuple[str, ...]
    how: str
    said: bool


@dataclass(slots=True)
class Found:
    """What a look around gave: candidates, and the `groups` of processes that were looked through.

    `nothing`: the workloads without any candidate, and why.
    """

    groups: frozenset[Group] = frozenset()
    candidates: list[Candidate] = field(default_factory=list)
    nothing: list[tuple[Subject, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Socket:
    listener: Listener
    namespace: int
    pid: int
    link: str


def discover(subjects: Sequence[Subject], families: Sequence[Family], proc: Path) -> Found:
    """Look at the processes of all these workloads. Never raises."""
    sharing: dict[Group, list[Subject]] = {}
    for subject in subjects:
        sharing.setdefault(group_of(subject, proc), []).append(subject)
    groups = members(sharing.keys() - {()}, proc)
    shared = shared_namespaces(proc)
    tables: dict[int, dict[int, Listener]] = {}
    sockets = {group: _sockets(pids, tables, shared, proc) for group, pids in groups.items()}
    held = {one.listener.inode for found in sockets.values() for one in found if one.link}
    found = Found(frozenset(groups))
    taken: set[int] = set()
    for group, alike in sharing.items():
        free = [
            one
            for one in sockets.get(group, ())
            if one.listener.inode not in taken and (one.link or one.listener.inode not in held)
        ]
        for subject, own in _divided(alike, free, proc):
            chosen = _chosen(subject, group, own, families, found)
            taken |= {one.listener.inode for one in chosen}
            found.candidates += chosen[: MAX_CANDIDATES - len(found.candidates)]
    return found


def _sockets(
    pids: Iterable[int],
    tables: dict[int, dict[int, Listener]],
    shared: frozenset[int],
    proc: Path,
) -> list[_Socket]:
    """The listeners that these processes hold, and all others of namespaces that are not shared."""
    owned: dict[int, _Socket] = {}
    others: dict[int, _Socket] = {}
    for pid in pids:
        try:
            inode = namespace(pid, proc)
            if inode not in tables:
                tables[inode] = {one.inode: one for one in listeners(pid, proc)}
            table = tables[inode]
            for socket, link in sockets_of(pid, proc) if table else ():
                if socket in table:
                    owned.setdefault(socket, _Socket(table[socket], inode, pid, link))
        except OSError:
            continue  # it is gone, or not for us to look at
        if inode not in shared:
            others |= {number: _Socket(one, inode, pid, "") for number, one in table.items()}
    return list({**others, **owned}.values())


def _divided(
    alike: Sequence[Subject], sockets: Sequence[_Socket], proc: Path
) -> list[tuple[Subject, list[_Socket]]]:
    """Workloads that cannot be told apart otherwise.

    A server belongs to who names its port, else to its own descendants.
    """
    if len(alike) == 1:
        return [(alike[0], list(sockets))]
    by_age = sorted(alike, key=lambda subject: subject.pid or 1 << 30)
    if not sockets:
        return [(subject, []) for subject in by_age]
    ports = {subject: _port_said(subject) for subject in by_age}
    lines = {subject: set(ancestors(subject.pid, proc)) for subject in by_age}
    divided: dict[Subject, list[_Socket]] = {subject: [] for subject in by_age}
    for socket in sockets:
        named = (subject for subject in by_age if ports[subject] == socket.listener.port)
        descended = (subject for subject in by_age if socket.pid in lines[subject])
        divided[next(chain(named, descended), by_age[0])].append(socket)
    return list(divided.items())


def _port_said(subject: Subject) -> int | None:
    try:
        return place(subject.metrics.value).port if subject.metrics else None
    except PlaceError:
        return None


def _chosen(
    subject: Subject,
    group: Group,
    sockets: Sequence[_Socket],
    families: Sequence[Family],
    found: Found,
) -> list[Candidate]:
    """Which of the sockets to ask, and where; notes in `found` why none."""
    said = subject.metrics
    try:
        where = place(said.value) if said else Place()
    except PlaceError as error:
        found.nothing.append((subject, str(error)))
        return []
    how = f"rule {said.rule!r}, {said.origin}, by {said.source}" if said else ""
    if where.off:
        found.nothing.append((subject, f"is to be left alone ({how})"))
        return []
    if not sockets:
        found.nothing.append((subject, "listens on no TCP port that the agent can see"))
        return []
    known = {port for family in families for port in family.ports}
    wanted = {where.port} if where.port else known
    by_port = _by_port(sockets)
    chosen = [one for port, one in by_port.items() if port in wanted]
    if not chosen and where.path and not where.port and len(by_port) == 1:
        chosen = list(by_port.values())
    if not chosen:
        ports = ", ".join(map(str, list(by_port)[:MAX_EACH]))
        why = f"{how} says port {where.port}" if where.port else "no port of a known server"
        found.nothing.append((subject, f"listens on {ports}: {why}"))
    return [
        Candidate(
            subject, group, one.listener, one.namespace, one.pid, one.link,
            (where.path,) if where.path else _paths(one.listener.port, families),
            how or f"port {one.listener.port} of a known server", bool(said),
        )
        for one in chosen[:MAX_EACH]
    ]  # fmt: skip


def _by_port(sockets: Sequence[_Socket]) -> dict[int, _Socket]:
    """One socket for each port: a server that has more, for IPv4 and IPv6 say, counts once."""
    best_last = sorted(
        sockets, key=lambda one: (one.link != "", ":" not in one.listener.address, one.pid)
    )
    best = {one.listener.port: one for one in best_last}
    return {port: best[port] for port in sorted(best)}


def _paths(port: int, families: Sequence[Family]) -> tuple[str, ...]:
    """Paths of the families that are usually at this port, of all if there are none."""
    usual = [family for family in families if port in family.ports] or families
    return tuple(dict.fromkeys(path for family in usual for path in family.paths))
