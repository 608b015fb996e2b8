"""How many distinct owners one host may name, so that hostile labels cannot flood the books."""

from __future__ import annotations

from collections import OrderedDict

LIMIT = 256
"""Distinct values of one field in use on one host."""

IDLE_S = 3600.0
"""A value that nobody used for this long makes room for another."""


class Cardinality:
    """Admits values of each field up to a limit; those in use stay, the next are refused.

    `refused` counts refusals. Memory is bounded by `limit` values for each field; the fields are
    the caller's own, not a stranger's. Used by one thread.
    """

    def __init__(self, limit: int = LIMIT, idle_s: float = IDLE_S) -> None:
        self._limit = limit
        self._idle_s = idle_s
        self._used: dict[str, OrderedDict[str, float]] = {}
        self.refused = 0

    def admit(self, field: str, value: str, now: float) -> bool:
        """Whether the field may take this value; `now` in seconds of a steady clock.

        Ask again for every value that is still in use, more often than once in `idle_s`: a value
        not asked for counts as unused.
        """
        used = self._used.setdefault(field, OrderedDict())
        if value not in used and len(used) >= self._limit:
            self._make_room(used, now)
            if len(used) >= self._limit:
                self.refused += 1
                return False
        used[value] = now
        used.move_to_end(value)
        return True

    def __len__(self) -> int:
        """Values that are held, of all fields."""
        return sum(map(len, self._used.values()))

    def _make_room(self, used: OrderedDict[str, float], now: float) -> None:
        while used:
            value, last = next(iter(used.items()))
            if now - last < self._idle_s:
                return
            del used[value]
