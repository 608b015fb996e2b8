"""Workloads that a source told of, kept a while longer than they run."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gpuledger_agent.attribution.base import MAX_WORKLOADS, Workload


@dataclass(slots=True)
class Entry:
    """`workload` None: the source does not know it. All times are monotonic.

    `since` is when it was first told of, `seen` when it was last.
    """

    workload: Workload | None
    since: float
    seen: float
    expires: float
    running: bool

    def fresh(self) -> bool:
        """Whether this need not be asked for again."""
        return self.expires > time.monotonic()


class Remembered:
    """Workloads by key, 2 * MAX_WORKLOADS at most. Used by several threads; reading never waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._by_name: Mapping[tuple[str, str], Workload] = {}

    def get(self, key: str) -> Entry | None:
        """What is known under this key."""
        return self._entries.get(key)

    def named(self, kind: str, name: str) -> Workload | None:
        """A workload by its name, of those that were known at the latest `end_all_but`."""
        return self._by_name.get((kind, name))

    def all(self) -> Iterator[tuple[Workload, Entry]]:
        """All workloads, those that ended lately included."""
        with self._lock:
            entries = list(self._entries.values())
        return ((entry.workload, entry) for entry in entries if entry.workload is not None)

    def keep(
        self, key: str, workload: Workload | None, for_s: float, *, running: bool = False
    ) -> None:
        """Take note of what the source says now, for so many seconds; None: it does not know it."""
        now = time.monotonic()
        expires = now + for_s
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.workload is None:
                self._entries[key] = Entry(workload, now, now, expires, running)
            else:
                entry.seen, entry.expires, entry.running = now, expires, running
                # The same object while it says the same: who caches by it need not compare.
                if workload is not None and workload != entry.workload:
                    entry.workload = workload
            self._entries.move_to_end(key)
            while len(self._entries) > 2 * MAX_WORKLOADS:
                self._entries.popitem(last=False)

    def end_all_but(self, running: set[str]) -> None:
        """Only these run still; of the others, those whose time is up are forgotten."""
        now = time.monotonic()
        with self._lock:
            for key, entry in list(self._entries.items()):
                entry.running = key in running
                if entry.expires < now:
                    del self._entries[key]
        self._by_name = {(found.kind, found.name): found for found, _ in self.all()}
