"""Time as the agent uses it: seconds since the epoch that never run backwards by surprise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

STEP_S = 0.5
"""A wall clock further off than this from steady time was stepped, not slewed."""

STALL_S = 300.0
"""Steps back up to this long are waited out: the windows they would repeat are written already.
Longer ones are taken over: what was written lies so far ahead that the collector refused it."""


class Clock(Protocol):
    """Where the agent gets the time from; a simulation brings its own."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...


class SteadyClock:
    """Wall time carried forward by the monotonic clock.

    Small differences to the wall clock (NTP slewing) are followed; steps are counted in
    `stepped_s`. After a step back of at most STALL_S time stands still until the wall clock has
    caught up, so that no window is measured twice. Used by several threads.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._offset = wall() - monotonic()
        self._floor = 0.0
        self.stepped_s = 0.0

    def now(self) -> float:
        """Seconds since the epoch; stands still rather than run back by up to STALL_S."""
        with self._lock:
            monotonic = self._monotonic()
            error = self._wall() - (monotonic + self._offset)
            if abs(error) > STEP_S:
                self.stepped_s += abs(error)
                self._offset += error
                if error < -STALL_S:
                    self._floor = 0.0
            else:
                self._offset += 0.01 * error
            self._floor = max(self._floor, monotonic + self._offset)
            return self._floor
