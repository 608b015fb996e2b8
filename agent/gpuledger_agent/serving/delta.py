"""From what a server has counted since it began to what it has served in a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from gpuledger_agent.serving.families import Column
from gpuledger_agent.serving.histogram import Histogram, added
from gpuledger_agent.serving.reading import Key, Reading

T = TypeVar("T", int, Histogram)

SPARE = 100
"""Series that are remembered beside twice those of the latest answer."""


@dataclass(frozen=True, slots=True)
class Served:
    """What was served of one model. A column that is absent is one that the server has not."""

    counts: Mapping[Column, int] = field(default_factory=dict)
    histograms: Mapping[Column, Histogram] = field(default_factory=dict)
    gauges: Mapping[Column, float] = field(default_factory=dict)


@dataclass(slots=True)
class Counted:
    """What was known of a server's counters at its latest answer.

    Series that an answer leaves out are remembered: they come back as they were.
    """

    counters: dict[Key, int] = field(default_factory=dict)
    histograms: dict[Key, Histogram] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Counters and buckets."""
        return len(self.counters) + sum(len(one.counts) for one in self.histograms.values())

    def served(self, reading: Reading) -> dict[str, Served]:
        """What was served since, by model, and remember this answer.

        A counter that is lower than it was has begun anew: at zero, like one that is new.
        """
        counts: dict[str, dict[Column, int]] = {}
        for (model, column, series), value in reading.counters.items():
            before = self.counters.get((model, column, series), 0)
            columns = counts.setdefault(model, {})
            columns[column] = columns.get(column, 0) + value - (before if before <= value else 0)
        parts: dict[str, dict[Column, list[Histogram]]] = {}
        for key, histogram in reading.histograms.items():
            since = histogram.since(self.histograms.get(key))
            parts.setdefault(key[0], {}).setdefault(key[1], []).append(since)
        _update(self.counters, reading.counters)
        _update(self.histograms, reading.histograms)
        gauges: dict[str, dict[Column, float]] = {}
        for (model, column), gauge in reading.gauges.items():
            gauges.setdefault(model, {})[column] = gauge
        return {
            model: _served(counts.get(model, {}), parts.get(model, {}), gauges.get(model, {}))
            for model in sorted(counts.keys() | parts.keys() | gauges.keys())
        }


def _served(
    counts: dict[Column, int],
    parts: Mapping[Column, list[Histogram]],
    gauges: Mapping[Column, float],
) -> Served:
    histograms = _together(parts)
    _reconciled(counts, histograms)
    return Served(counts, histograms, gauges)


def _reconciled(counts: dict[Column, int], histograms: Mapping[Column, Histogram]) -> None:
    """Where no counter tells requests their latencies do; no more of them fail than there are."""
    if Column.LATENCY in histograms:
        counts.setdefault(Column.REQUESTS, histograms[Column.LATENCY].count)
    if Column.ERRORS in counts and Column.REQUESTS in counts:
        counts[Column.ERRORS] = min(counts[Column.ERRORS], counts[Column.REQUESTS])


def _together(parts: Mapping[Column, list[Histogram]]) -> dict[Column, Histogram]:
    sums = ((column, added(histograms)) for column, histograms in parts.items())
    return {column: histogram for column, histogram in sums if histogram is not None}


def _update(known: dict[Key, T], told: Mapping[Key, T]) -> None:
    known.update(told)
    if len(known) > 2 * len(told) + SPARE:
        for gone in known.keys() - told.keys():
            del known[gone]
