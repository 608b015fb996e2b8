"""Histograms as servers cut them: counts by bucket, added only where no bucket is split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

MAX_BOUNDS = 200
"""Finite bounds of a histogram; one with more is not read."""

MAX_US = 1 << 62
"""No bound is higher."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts` by bucket, not cumulative: one for each of `upto_us`, and one for all above.

    `sum_ms` is the sum of what was counted, in milliseconds.
    """

    upto_us: tuple[int, ...]
    counts: tuple[int, ...]
    sum_ms: int = 0

    @property
    def count(self) -> int:
        """Values that were counted."""
        return sum(self.counts)

    def since(self, earlier: Histogram | None) -> Histogram:
        """What was counted since then; all of it, if it has begun anew in between."""
        if earlier is None or earlier.upto_us != self.upto_us:
            return self
        counts = tuple(now - then for now, then in zip(self.counts, earlier.counts, strict=True))
        if min(counts) < 0:
            return self
        return Histogram(self.upto_us, counts, max(self.sum_ms - earlier.sum_ms, 0))

    def cut(self, bounds: Sequence[int]) -> Histogram:
        """The same with these bounds alone, all of which it has."""
        kept = set(bounds)
        counts = []
        below = 0
        for upto, count in zip(self.upto_us, self.counts[:-1], strict=True):
            below += count
            if upto in kept:
                counts.append(below)
                below = 0
        return Histogram(tuple(bounds), (*counts, below + self.counts[-1]), self.sum_ms)


def from_buckets(
    cumulative: Mapping[float, int], total: int, total_sum: float, scale: int
) -> Histogram | None:
    """A histogram of one series: bound -> how many are at most that, as servers tell it.

    `scale` makes microseconds of bounds and sum. None if it contradicts itself, or has no bound.
    """
    finite: dict[int, int] = {}
    before = 0
    for bound, count in sorted(cumulative.items()):
        if count < before:
            return None
        before = count
        # Bounds that are the same in microseconds are one; below 0 nothing takes that long.
        if 0 < bound * scale < MAX_US and round(bound * scale):
            finite[round(bound * scale)] = count
    if not 0 < len(finite) <= MAX_BOUNDS:
        return None
    steps = (0, *finite.values(), max(before, total))
    counts = tuple(upper - lower for lower, upper in pairwise(steps))
    sum_ms = round(total_sum * scale / 1_000) if 0 <= total_sum * scale < MAX_US else 0
    return Histogram(tuple(finite), counts, sum_ms)


def added(histograms: Sequence[Histogram]) -> Histogram | None:
    """All together, by the bounds that all have; None if they have none in common."""
    bounds = set.intersection(*(set(one.upto_us) for one in histograms)) if histograms else set()
    if not bounds:
        return None
    cut = [one.cut(sorted(bounds)) for one in histograms]
    counts = tuple(map(sum, zip(*(one.counts for one in cut), strict=True)))
    return Histogram(cut[0].upto_us, counts, sum(one.sum_ms for one in cut))
