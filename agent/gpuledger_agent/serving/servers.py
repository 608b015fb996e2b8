"""All servers that were found, those included that were not found again just now."""

from __future__ import annotations

from collections.abc import Sequence

from gpuledger_agent.serving.delta import Counted
from gpuledger_agent.serving.discovery import Candidate, Found
from gpuledger_agent.serving.server import Server
from gpuledger_agent.serving.subjects import Group

FORGET_S = 600.0
"""How long a server that is not found any more is remembered, and so not taken for a new one."""

MAX_GONE = 256
"""Of those."""

_Key = tuple[int, int, int]
"""Network namespace, port and inode of a socket: one that begins anew is another."""


class Servers:
    """Used by one thread; `all` by any."""

    def __init__(self) -> None:
        self._servers: dict[_Key, Server] = {}
        self._present: list[Server] = []
        self._groups: frozenset[Group] = frozenset()
        self._kept = 0.0

    def all(self) -> Sequence[Server]:
        """All that are remembered."""
        return tuple(self._servers.values())

    def present(self) -> Sequence[Server]:
        """Those that were found when processes were last looked through."""
        return self._present

    def answering(self) -> int:
        """How many of them are servers, as far as is known."""
        return sum(bool(server.family) for server in self._present)

    def keep(self, found: Found, now: float) -> None:
        """These were found just now.

        One that is new where processes were looked through before has begun since: all that it has
        counted is to be booked. What it had counted before we came is not ours.
        """
        self._present = []
        for candidate in found.candidates:
            key = _key(candidate)
            server = self._servers.pop(key, None)
            if server is None:
                begun = candidate.group in self._groups
                server = Server(candidate, Counted() if begun else None, self._kept, now)
            server.candidate, server.seen = candidate, now
            self._present.append(server)
            self._servers[key] = server  # as the last: those long gone stand first
        self._groups, self._kept = found.groups, now
        self._forget(now)

    def _forget(self, now: float) -> None:
        gone = [key for key, server in self._servers.items() if server.seen < now]
        for number, key in enumerate(gone, MAX_GONE - len(gone)):
            if number < 0 or self._servers[key].seen < now - FORGET_S:
                del self._servers[key]


def _key(candidate: Candidate) -> _Key:
    return candidate.namespace, candidate.listener.port, candidate.listener.inode
