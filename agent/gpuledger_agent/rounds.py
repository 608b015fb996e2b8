"""When the agent writes, and which window its own row is about."""

from __future__ import annotations

from gpuledger_agent.clock import STALL_S, Clock
from gpuledger_agent.records import Window

GRACE_S = 2.0
"""How long after its end a window is written: time for a slow GPU's last tick. What comes later
still is written with the next window."""


class Rounds:
    """The agent's own windows one after the other, each once, whatever is done to the clock.

    `since`: up to there an earlier run has written. After a pause or a step forward it goes on with
    the present window; while time stands still no window is over.
    """

    def __init__(self, clock: Clock, window_s: int, since: float = 0.0) -> None:
        self._clock = clock
        self._window_s = window_s
        self.open = self._window(max(clock.now(), since))
        """The window that is written next."""

    def patience(self) -> float:
        """Seconds until it is over; at most a whole round, as the clock may be set meanwhile."""
        due = self.open.end + GRACE_S - self._clock.now()
        return min(max(due, 0.0), self._window_s + GRACE_S)

    def over(self) -> Window | None:
        """The open window if it is over, and then the next is open; else None."""
        now = self._clock.now()
        if now < self.open.start - STALL_S:  # set back further than is waited out
            self.open = self._window(now)
        if now < self.open.end + GRACE_S:
            return None
        closed, following = self.open, Window(self.open.end, self._window_s)
        present = self._window(now - GRACE_S)
        self.open = following if present.start <= following.end else present
        return closed

    def _window(self, at: float) -> Window:
        return Window(int(at // self._window_s) * self._window_s, self._window_s)
