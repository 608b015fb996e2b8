"""One server: asked when it is due, remembered from one answer to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpuledger_agent.serving.delta import Counted, Served
from gpuledger_agent.serving.discovery import Candidate
from gpuledger_agent.serving.errors import ScrapeError
from gpuledger_agent.serving.exposition import samples
from gpuledger_agent.serving.families import Family
from gpuledger_agent.serving.fetch import Endpoint, fetch
from gpuledger_agent.serving.network import socket_at
from gpuledger_agent.serving.reading import Reading, read, wanted

PAUSE_S = 10.0
"""A server that fails is asked again after this, then twice that, and so on."""

PAUSE_MAX_S = 60.0
"""And no longer than this, if it has answered before."""

PAUSE_STRANGER_S = 300.0
"""Otherwise no longer than this: what listens there may be no server at all."""

COST_SHARE = 0.02
"""The part of one core's time that reading a server may take; one that costs more waits longer."""

_OTHER_PATH = frozenset({"status", "unknown", "malformed", "no_http"})
"""Failures after which another path may be the right one."""


@dataclass(slots=True, eq=False)
class Server:
    """A candidate and what became of it.

    `counted` is what it had counted at its latest answer: nothing, for one that was seen to begin;
    None for one that had been there before. `since` is when that was. `path` and `family` are known
    from its first answer on; `problem` says why the latest did not come. `seen` is when it was last
    found. All times are monotonic.
    """

    candidate: Candidate
    counted: Counted | None
    since: float
    seen: float
    path: str = ""
    family: str = ""
    failures: int = 0
    due: float = 0.0
    problem: str = ""
    busy: bool = False

    @property
    def size(self) -> int:
        """How much is remembered of it."""
        return 0 if self.counted is None else self.counted.size

    @property
    def address(self) -> str:
        """Where it is asked."""
        return str(self._endpoint(self.path))

    def ask(self, families: Sequence[Family], proc: Path) -> Reading:
        """What it answers now. Raises ScrapeError."""
        first: ScrapeError | None = None
        for path in (self.path,) if self.path else self.candidate.paths:
            try:
                reading = self._ask(path, families, proc)
            except ScrapeError as error:
                first = first or ScrapeError(error.reason, f"{path} {error}")
                if error.reason not in _OTHER_PATH:
                    break
            else:
                self.path, self.family = path, reading.family.name
                return reading
        raise first or ScrapeError("unknown", "has no path to be asked for")

    def took(self, reading: Reading, now: float) -> dict[str, Served] | None:
        """What it served since its latest answer, by model; None if that was not known."""
        self.since, self.failures, self.problem = now, 0, ""
        if self.counted is None:
            self.counted = Counted()
            self.counted.served(reading)
            return None
        return self.counted.served(reading)

    def failed(self, error: ScrapeError, now: float) -> None:
        """It did not answer as it should: leave it alone for a while."""
        self.failures += 1
        self.problem = str(error)
        longest = PAUSE_MAX_S if self.family else PAUSE_STRANGER_S
        self.due = now + min(PAUSE_S * 2 ** min(self.failures - 1, 8), longest)

    def _ask(self, path: str, families: Sequence[Family], proc: Path) -> Reading:
        endpoint = self._endpoint(path)
        link = self.candidate.link
        if link and socket_at(link) != endpoint.listener.inode:
            raise ScrapeError("gone", "is gone")
        body, content_type = fetch(endpoint, proc)
        reading = read(samples(body, content_type, wanted(families)), families)
        if reading is None:
            raise ScrapeError("unknown", "has no metrics of a known family")
        return reading

    def _endpoint(self, path: str) -> Endpoint:
        one = self.candidate
        return Endpoint(one.listener, one.pid, one.namespace, path)
