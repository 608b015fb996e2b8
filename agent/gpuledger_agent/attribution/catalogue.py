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
from dataclasses import dataclass, replace

from gpuledger_agent.attribution.base import (
    MAX_WORKLOADS,
    AbsentError,
    Source,
    SourceError,
    Workload,
    WorkloadRef,
)
from gpuledger_agent.attribution.remembered import Remembered
from gpuledger_agent.attribution.source_state import SourceState
from gpuledger_agent.log import Once

log = logging.getLogger(__name__)

REFRESH_S = 10.0
"""How often all workloads are listed: grants begin and end this precisely."""

BACKOFF_MAX_S = 60.0
"""A source that fails is asked again after REFRESH_S, then twice that, up to this."""

ABSENT_S = 300.0
"""How long a socket is left alone behind which another answers: Docker's containerd is on many a
host that will never have pods."""

FORGET_S = 120.0
"""How long an ended workload is remembered: the last window of its processes closes well before."""

UNKNOWN_S = 30.0
"""How long a source is not asked again for what it did not know."""

UNREAD_S = 120.0
"""How long it is not asked again for what it could not read: it may hang as long each time."""

NEVER = -math.inf

STALE_S = 2.5 * REFRESH_S
"""A grant not confirmed for this long is over: nobody is accused on old news. A source that has
not answered for this long is not up."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A workload with GPUs, from `since` to `until`, seconds since the epoch; `inf`: it goes on."""

    source: str
    workload: Workload
    since: float
    until: float


class Catalogue:
    """The workloads of one source. `find`, `named` and `granted` never block.

    One query is in flight at a time: the list when it is due, else the next that is wanted. Memory
    is bounded by MAX_WORKLOADS, twice.
    """

    def __init__(
        self,
        name: str,
        detect: Callable[[], Source | None],
        wall: Callable[[], float],
        knows: Callable[[WorkloadRef], bool] = lambda _: True,
        speaks_for_host: Callable[[], bool] = lambda: True,
    ) -> None:
        """`detect` finds the source on this host, None while it has none; it must be cheap.

        What the source cannot know is not asked for: `knows` tells. One that does not speak for the
        host grants nothing, and says nothing of what others know by name.
        """
        self.name = name
        self._detect = detect
        self._wall = wall
        self._knows = knows
        self._speaks_for_host = speaks_for_host
        self._state = SourceState()
        self._source: Source | None = None
        self._remembered = Remembered()
        self._wanted: OrderedDict[str, WorkloadRef] = OrderedDict()
        self._changed = threading.Condition()
        self._stopped = False
        self._began: float | None = None
        """When the query in flight began; None between queries."""
        self._listed_at = self._tried_at = self._due = NEVER
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

    @property
    def state(self) -> SourceState:
        """How the source fares now."""
        if self._hangs():
            reason = f"has not answered for {STALE_S:g} seconds"
            return replace(self._state, present=True, up=False, reason=reason)
        return self._state

    def find(self, ref: WorkloadRef) -> Workload | None:
        """What is known of a workload now. What is not known is asked for, soon."""
        if not self._knows(ref):
            return None
        key = _key(ref)
        entry = self._remembered.get(key)
        if entry is not None and entry.fresh():
            return entry.workload
        if (self._state.up or self._tried_at == NEVER) and len(self._wanted) < MAX_WORKLOADS:
            with self._changed:
                self._wanted[key] = ref
                self._changed.notify_all()
        return None if entry is None else entry.workload

    def named(self, kind: str, name: str) -> Workload | None:
        """A workload by the name that another source knows it by."""
        return self._remembered.named(kind, name) if self._speaks_for_host() else None

    def granted(self) -> list[Granted]:
        """Workloads with GPUs, those that ended lately included."""
        if not self._speaks_for_host():
            return []
        now = time.monotonic()
        fresh = now - self._listed_at < STALE_S
        epoch = self._wall() - now  # of this moment, since the clock may have been set
        return [
            Granted(
                self.name,
                workload,
                epoch + entry.since,
                math.inf if fresh and entry.running else epoch + entry.seen,
            )
            for workload, entry in self._remembered.all()
            if workload.devices
        ]

    def settle(self, deadline: float) -> None:
        """Wait until the source was listed once and everything asked for is answered.

        No longer than until `deadline`, by the monotonic clock, and not for one that hangs.
        """
        if self._hangs():
            self._once.warning("hangs", "event=source_hangs source=%s", self.name)
            return
        self._once.over("hangs", "event=source_hangs_no_more source=%s", self.name)
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or (self._tried_at != NEVER and not self._wanted),
                max(deadline - time.monotonic(), 0.0),
            )

    def _hangs(self) -> bool:
        """Whether the query in flight does not end, though sources see to it that each does."""
        began = self._began
        return began is not None and time.monotonic() - began > STALE_S

    def _run(self) -> None:
        while not self._stopped:
            self._round()
            with self._changed:
                self._changed.wait_for(
                    lambda: self._wanted or self._stopped, max(self._due - time.monotonic(), 0.0)
                )
        if self._source is not None:
            self._source.close()

    def _round(self) -> None:
        """One query: the list if it is due, else the next that is wanted."""
        self._began = time.monotonic()
        try:
            source = self._present()
            if source is None:
                self._is_absent("", REFRESH_S)
            elif time.monotonic() >= self._due:
                self._list(source)
            else:
                self._look_up(source)
        except AbsentError as error:
            self._is_absent(str(error), ABSENT_S)
        except SourceError as error:
            self._fails(str(error))
        except Exception as error:  # a daemon reports what it did not foresee, and goes on
            log.exception("event=source_error source=%s", self.name)
            self._fails(repr(error))
        finally:
            self._began = None

    def _present(self) -> Source | None:
        if self._source is not None and not self._source.present():
            self._source.close()
            self._source = None
        if self._source is None:
            self._source = self._detect()
        return self._source

    def _list(self, source: Source) -> None:
        self._state.queries += 1
        listed = source.workloads()[:MAX_WORKLOADS]
        keys = set()
        for workload in listed:
            key = workload.id or f"{workload.kind} {workload.name} {workload.share}"
            self._keep(key, workload, FORGET_S, running=True)
            keys.add(key)
        self._remembered.end_all_but(keys)
        self._state.workloads = len(listed)
        self._state.present, self._state.up, self._state.reason = True, True, ""
        self._once.over("fails", "event=source_answers_again source=%s", self.name)
        with self._changed:
            self._pause_s = REFRESH_S
            self._listed_at = self._tried_at = time.monotonic()
            self._due = self._tried_at + REFRESH_S
            self._changed.notify_all()

    def _look_up(self, source: Source) -> None:
        with self._changed:
            key, ref = next(iter(self._wanted.items()), ("", None))
        if ref is None:
            return
        self._state.queries += 1
        try:
            found = source.workload(ref)
        except SourceError as error:
            # This workload alone, as far as one knows: the list tells whether it is the source.
            self._keep(key, None, UNREAD_S)
            self._state.failures += 1
            self._once.warning(
                ("lookup", key),
                "event=workload_unread source=%s id=%r reason=%r booked by what else is known",
                *(self.name, key, str(error)),
            )
        else:
            self._keep(key, found, UNKNOWN_S if found is None else FORGET_S)

    def _keep(
        self, key: str, workload: Workload | None, for_s: float, *, running: bool = False
    ) -> None:
        self._remembered.keep(key, workload, for_s, running=running)
        with self._changed:
            self._wanted.pop(key, None)
            self._changed.notify_all()

    def _is_absent(self, reason: str, pause_s: float) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None
        if reason and reason != self._state.reason:
            log.info("event=source_absent source=%s reason=%r", self.name, reason)
        self._state.present, self._state.reason = False, reason
        self._give_up(pause_s)

    def _fails(self, reason: str) -> None:
        self._state.failures += 1
        self._state.present, self._state.reason = True, reason
        self._pause_s = min(2 * self._pause_s, BACKOFF_MAX_S)
        self._give_up(self._pause_s)
        self._once.warning(
            "fails",
            "event=source_fails source=%s reason=%r its workloads are booked without it",
            *(self.name, reason),
        )

    def _give_up(self, pause_s: float) -> None:
        """Let nobody wait for what cannot be had now."""
        self._state.up = False
        with self._changed:
            self._wanted.clear()
            self._tried_at = time.monotonic()
            self._due = self._tried_at + pause_s
            self._changed.notify_all()


def _key(ref: WorkloadRef) -> str:
    return ref.id or f"pod {ref.pod_uid}"
