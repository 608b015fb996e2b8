"""What a source knows, kept at hand: asked for by sampling threads, fetched by a thread of its own.

A source that is slow, dead or lying costs a log line and a counter. It delays nobody but the
writer of windows, and that one by at most as long as it says itself.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gpuledger_agent.attribution.base import (
    MAX_WORKLOADS,
    Source,
    SourceError,
    Workload,
    WorkloadRef,
)
from gpuledger_agent.log import Once

log = logging.getLogger(__name__)

REFRESH_S = 10.0
"""How often all workloads are listed: grants begin and end this precisely."""

BACKOFF_MAX_S = 60.0
"""A source that fails is asked again after REFRESH_S, then twice that, up to this."""

FORGET_S = 120.0
"""How long an ended workload is remembered: the last window of its processes closes well before."""

UNKNOWN_S = 30.0
"""How long a source is not asked again for what it did not know."""

NEVER = -math.inf

STALE_S = 2.5 * REFRESH_S
"""A grant not confirmed for this long is over: nobody is accused on old news."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A workload with GPUs, from `since` to `until`, seconds since the epoch; `inf`: it goes on."""

    source: str
    workload: Workload
    since: float
    until: float


@dataclass(slots=True)
class SourceState:
    """How a source fares. `present`: this host has it; `up`: its latest answer was one.

    `reason` says why it is not up.
    """

    present: bool = False
    up: bool = False
    queries: int = 0
    failures: int = 0
    workloads: int = 0
    reason: str = ""


@dataclass(slots=True)
class _Entry:
    """`workload` None: the source does not know it. `seen` is wall time, `expires` monotonic."""

    workload: Workload | None
    since: float
    seen: float
    expires: float
    running: bool


class Catalogue:
    """The workloads of one source. `find`, `named` and `granted` never block.

    At most one query is in flight. Memory is bounded by MAX_WORKLOADS, twice.
    """

    def __init__(
        self,
        name: str,
        detect: Callable[[], Source | None],
        wall: Callable[[], float],
        knows: Callable[[WorkloadRef], bool] = lambda _: True,
    ) -> None:
        """`detect` finds the source on this host, None while it has none; it must be cheap.

        What the source cannot know is not asked for: `knows` tells.
        """
        self.name = name
        self._knows = knows
        self.state = SourceState()
        self._detect = detect
        self._source: Source | None = None
        self._wall = wall
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._names: dict[tuple[str, str], Workload] = {}
        self._wanted: OrderedDict[str, WorkloadRef] = OrderedDict()
        self._changed = threading.Condition()
        self._stopped = False
        self._listed_at = self._tried_at = NEVER
        self._pause_s = REFRESH_S
        self._once = Once(log)
        self._thread = threading.Thread(target=self._run, name=f"source-{name}", daemon=True)

    def start(self) -> None:
        """Begin to ask the source."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its present query."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def find(self, ref: WorkloadRef) -> Workload | None:
        """What is known of a workload now. What is not known is asked for, soon."""
        if not self._knows(ref):
            return None
        key = _key(ref)
        entry = self._entries.get(key)
        if entry is not None and entry.expires > time.monotonic():
            return entry.workload
        if (self.state.up or self._tried_at == NEVER) and len(self._wanted) < MAX_WORKLOADS:
            with self._changed:
                self._wanted[key] = ref
                self._changed.notify_all()
        return None if entry is None else entry.workload

    def named(self, kind: str, name: str) -> Workload | None:
        """A workload by the name that another source knows it by."""
        return self._names.get((kind, name))

    def granted(self) -> list[Granted]:
        """Workloads with GPUs, those that ended lately included."""
        fresh = time.monotonic() - self._listed_at < STALE_S
        with self._changed:
            return [
                Granted(
                    self.name,
                    entry.workload,
                    entry.since,
                    math.inf if fresh and entry.running else entry.seen,
                )
                for entry in self._entries.values()
                if entry.workload is not None and entry.workload.devices
            ]

    def settle(self, deadline: float) -> None:
        """Wait until the source was listed once and everything asked for is answered.

        No longer than until `deadline`, by the monotonic clock.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or (self._tried_at != NEVER and not self._wanted),
                max(deadline - time.monotonic(), 0.0),
            )

    def _run(self) -> None:
        while not self._stopped:
            self._round()
            with self._changed:
                due = self._tried_at + self._pause_s
                self._changed.wait_for(
                    lambda: self._wanted or self._stopped, max(due - time.monotonic(), 0.0)
                )
        if self._source is not None:
            self._source.close()

    def _round(self) -> None:
        """Whatever is due: list what runs, look up what is wanted."""
        try:
            source = self._present()
            if source is None:
                self._give_up(REFRESH_S)
            else:
                self._ask(source)
        except SourceError as error:
            self._fails(str(error))
        except Exception as error:  # a daemon reports what it did not foresee, and goes on
            log.exception("event=source_error source=%s", self.name)
            self._fails(repr(error))

    def _present(self) -> Source | None:
        if self._source is not None and not self._source.present():
            self._source.close()
            self._source = None
        if self._source is None:
            self._source = self._detect()
        self.state.present = self._source is not None
        return self._source

    def _ask(self, source: Source) -> None:
        if time.monotonic() - self._tried_at >= self._pause_s:
            self._list(source)
        for key, ref in list(self._wanted.items()):
            self.state.queries += 1
            self._keep(key, source.workload(ref), running=False)
            with self._changed:
                self._wanted.pop(key, None)
                self._changed.notify_all()
        self.state.up, self.state.reason = True, ""
        self._once.over("fails", "event=source_answers_again source=%s", self.name)

    def _list(self, source: Source) -> None:
        self.state.queries += 1
        listed = source.workloads()[:MAX_WORKLOADS]
        keys = set()
        for workload in listed:
            key = workload.id or f"{workload.kind} {workload.name} {workload.share}"
            self._keep(key, workload, running=True)
            keys.add(key)
            with self._changed:
                self._wanted.pop(key, None)
        self.state.workloads = len(listed)
        self._forget(keys)
        with self._changed:
            self._listed_at = self._tried_at = time.monotonic()
            self._pause_s = REFRESH_S
            self._changed.notify_all()

    def _keep(self, key: str, workload: Workload | None, *, running: bool) -> None:
        now, wall = time.monotonic(), self._wall()
        expires = now + (UNKNOWN_S if workload is None else FORGET_S)
        with self._changed:
            entry = self._entries.get(key)
            if entry is None or entry.workload is None:
                self._entries[key] = _Entry(workload, wall, wall, expires, running)
                return
            entry.seen, entry.expires, entry.running = wall, expires, running
            # The same object while it says the same: whoever caches by it need not compare.
            if workload is not None and workload != entry.workload:
                entry.workload = workload

    def _forget(self, running: set[str]) -> None:
        now = time.monotonic()
        with self._changed:
            for key, entry in list(self._entries.items()):
                entry.running = key in running
                if entry.expires < now:
                    del self._entries[key]
            while len(self._entries) > 2 * MAX_WORKLOADS:
                self._entries.popitem(last=False)
            self._names = {
                (entry.workload.kind, entry.workload.name): entry.workload
                for entry in self._entries.values()
                if entry.workload is not None
            }

    def _fails(self, reason: str) -> None:
        self.state.failures += 1
        self.state.reason = reason
        self._give_up(min(2 * self._pause_s, BACKOFF_MAX_S))
        self._once.warning(
            "fails",
            "event=source_fails source=%s reason=%r its workloads are booked without it",
            *(self.name, reason),
        )

    def _give_up(self, pause_s: float) -> None:
        """Let nobody wait for what cannot be had now."""
        self.state.up = False
        with self._changed:
            self._wanted.clear()
            self._tried_at, self._pause_s = time.monotonic(), pause_s
            self._changed.notify_all()


def _key(ref: WorkloadRef) -> str:
    return ref.id or f"pod {ref.pod_uid}"
