"""What one answer of a server says: its family, and the columns of each model that it serves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.samples import Sample

from gpuledger_agent.attribution.labels import unique
from gpuledger_agent.serving.families import COUNTERS, GAUGES, Column, Family, Selector
from gpuledger_agent.serving.histogram import Histogram, from_buckets

MAX_MODELS = 32
"""Models of one server that are told apart; the others are taken together, without a name."""

MAX_COUNT = 1 << 53
"""No counter is higher: beyond it a server itself does not count each."""

Key = tuple[str, Column, int]
"""The model, the column, and the series of it: its metric and labels, as a hash."""


@dataclass(slots=True)
class Reading:
    """The columns that a server has. Counters and histograms are since whenever it began to count.

    Gauges are added over the series of a model; of the KV cache's the highest counts (percent).
    """

    family: Family
    counters: dict[Key, int] = field(default_factory=dict)
    histograms: dict[Key, Histogram] = field(default_factory=dict)
    gauges: dict[tuple[str, Column], float] = field(default_factory=dict)
    matched: dict[Column, str] = field(default_factory=dict)
    """The metrics that each column is made of."""

    @property
    def size(self) -> int:
        """Counters and buckets."""
        return len(self.counters) + sum(len(one.counts) for one in self.histograms.values())


def wanted(families: Iterable[Family]) -> frozenset[bytes]:
    """Names of all samples that any of these families is made of."""
    return frozenset(name.encode() for family in families for name in family.metrics())


def read(samples: Sequence[Sample], families: Sequence[Family]) -> Reading | None:
    """What they say, by the family that most of it is of; None if they are of none."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    readings = (_Reader(family, by_name).reading() for family in families)
    best = max(readings, key=lambda reading: len(reading.matched), default=None)
    return best if best is not None and best.matched else None


class _Reader:
    """Reads the columns of one family."""

    def __init__(self, family: Family, by_name: Mapping[str, list[Sample]]) -> None:
        self._by_name = by_name
        self._models: dict[str, str] = {}
        self._into = Reading(family)

    def reading(self) -> Reading:
        """All columns that the samples have."""
        for column, selectors in self._into.family.columns.items():
            take = (
                self._count
                if column in COUNTERS
                else self._gauge
                if column in GAUGES
                else self._histogram
            )
            for selector in selectors:
                if take(column, selector):
                    self._into.matched[column] = " + ".join(selector.metrics)
                    break
        return self._into

    def _model(self, labels: Mapping[str, str]) -> str:
        said = labels.get(self._into.family.served_model, "")
        if said not in self._models:
            self._models[said] = unique(said) if len(self._models) < MAX_MODELS else ""
        return self._models[said]

    def _selected(self, selector: Selector, ending: str = "") -> Iterable[Sample]:
        for metric in selector.metrics:
            for sample in self._by_name.get(metric + ending, ()):
                if selector.takes(sample.labels):
                    yield sample

    def _count(self, column: Column, selector: Selector) -> bool:
        found = False
        for sample in self._selected(selector):
            value = _whole(sample.value)
            if value is not None:
                key = (self._model(sample.labels), column, _series(sample.name, sample.labels))
                self._into.counters.setdefault(key, value)  # a series told twice is one
                found = True
        return found

    def _gauge(self, column: Column, selector: Selector) -> bool:
        seen: set[int] = set()
        for sample in self._selected(selector):
            value, series = sample.value * selector.scale, _series(sample.name, sample.labels)
            if not 0 <= value < MAX_COUNT or series in seen:
                continue
            seen.add(series)
            key = (self._model(sample.labels), column)
            before = self._into.gauges.get(key, 0.0)
            kept = max(before, value) if column is Column.KV_CACHE else before + value
            self._into.gauges[key] = kept
        return bool(seen)

    def _histogram(self, column: Column, selector: Selector) -> bool:
        buckets: dict[Key, dict[float, int]] = {}
        for sample in self._selected(selector, "_bucket"):
            bound, count = _number(sample.labels.get("le", "")), _whole(sample.value)
            if bound is not None and count is not None:
                key = self._key(column, sample, "_bucket")
                buckets.setdefault(key, {}).setdefault(bound, count)
        totals = {self._key(column, s, "_count"): s for s in self._selected(selector, "_count")}
        sums = {self._key(column, s, "_sum"): s for s in self._selected(selector, "_sum")}
        for key, cumulative in buckets.items():
            total = _whole(totals[key].value) if key in totals else 0
            total_sum = sums[key].value if key in sums else 0.0
            found = from_buckets(cumulative, total or 0, total_sum, selector.scale)
            if found is not None:
                self._into.histograms[key] = found
        return bool(buckets.keys() & self._into.histograms.keys())

    def _key(self, column: Column, sample: Sample, ending: str) -> Key:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        series = _series(sample.name.removesuffix(ending), labels)
        return self._model(sample.labels), column, series


def _series(name: str, labels: Mapping[str, str]) -> int:
    return hash((name, *sorted(labels.items())))


def _whole(value: float) -> int | None:
    """A count, whole; None for what is none."""
    return int(value) if 0 <= value < MAX_COUNT else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value
