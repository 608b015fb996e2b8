"""How many distinct owners one host may name, so that hostile labels cannot flood the books."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field

LIMIT = 256
"""Distinct values of one field in use on one host."""

LIMIT_EACH = 64
"""Those of them that one workload, or user, may bring: one that makes them up leaves the others
room."""

IDLE_S = 3600.0
"""A value that nobody used for this long makes room for another."""


@dataclass(slots=True)
class _Used:
    """Values of one field: value -> when it was last used, and whose it was at first."""

    values: OrderedDict[str, tuple[float, str]] = field(default_factory=OrderedDict)
    each: Counter[str] = field(default_factory=Counter)


class Cardinality:
    """Admits values of each field up to a limit; those in use stay, the next are refused.

    `refused` counts refusals. Memory is bounded by `limit` values for each field; the fields are
    the caller's own, not a stranger's. Used by one thread.
    """

    def __init__(
        self, limit: int = LIMIT, limit_each: int = LIMIT_EACH, idle_s: float = IDLE_S
    ) -> None:
        self._limit = limit
        self._limit_each = limit_each
        self._idle_s = idle_s
        self._used: dict[str, _Used] = {}
        self.refused = 0

    def admit(self, field: str, value: str, now: float, whose: str) -> bool:
        """Whether the field may take this value; `now` in seconds of a steady clock.

        Ask again for every value that is still in use, more often than once in `idle_s`: a value
        not asked for counts as unused. `whose` it is decides for a value that is not in use yet.
        """
        used = self._used.setdefault(field, _Used())
        if value not in used.values:
            if self._is_full(used, whose):
                self._make_room(used, now)
            if self._is_full(used, whose):
                self.refused += 1
                return False
            used.values[value] = now, whose
            used.each[whose] += 1
        used.values[value] = now, used.values[value][1]
        used.values.move_to_end(value)
        return True

    def __len__(self) -> int:
        """Values that are held, of all fields."""
        return sum(len(used.values) for used in self._used.values())

    def _is_full(self, used: _Used, whose: str) -> bool:
        return len(used.values) >= self._limit or used.each[whose] >= self._limit_each

    def _make_room(self, used: _Used, now: float) -> None:
        while used.values:
            value, (last, whose) = next(iter(used.values.items()))
            if now - last < self._idle_s:
                return
            del used.values[value]
            used.each[whose] -= 1
            if not used.each[whose]:
                del used.each[whose]
