"""Shell patterns that a value must fit, or must not."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence


class Globs:
    """Alternatives: a value fits one of the patterns and none of those that start with `!`.

    `*`, `?` and `[...]` as in fnmatch(3), on the whole value, in the case that is written. An empty
    value stands for an absent one: it fits no pattern, so `*` means "there is one" and patterns
    with `!` alone let it pass. Raises ValueError for an empty pattern.
    """

    __slots__ = ("_refused", "_wanted", "text")

    def __init__(self, patterns: Sequence[str]) -> None:
        if any(not p.removeprefix("!") for p in patterns):
            raise ValueError('is empty; write a pattern, such as "search-*"')
        self.text = " or ".join(patterns)
        self._wanted = [_compiled(p) for p in patterns if not p.startswith("!")]
        self._refused = [_compiled(p[1:]) for p in patterns if p.startswith("!")]

    def fit(self, value: str) -> bool:
        """Whether the value fits."""
        if not value:
            return not self._wanted
        if self._wanted and not any(p.match(value) for p in self._wanted):
            return False
        return not any(p.match(value) for p in self._refused)


def _compiled(pattern: str) -> re.Pattern[str]:
    # What fnmatch makes of stars never goes back over them: time is a product of the two lengths.
    return re.compile(fnmatch.translate(pattern))
