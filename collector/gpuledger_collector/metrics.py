"""The collector's own state for Prometheus. No label comes from an agent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gpuledger_agent import expiry
from gpuledger_agent.pem import Dated

_PREFIX = "gpuledger_collector"

Metric = TypeVar("Metric", Counter, Gauge)


class _Certificates(Collector):
    """Tells when they end."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[GaugeMetricFamily]:
        return expiry.metrics(_PREFIX, self._metrics.dates())


class Metrics:
    """Counters of one collector, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(namespace=_PREFIX, registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.stuck = self._gauge(
            "stuck", "1 while its loop does not turn, or a thread of it has ended"
        )
        self.agents = self._gauge("agents", "Streams of agents that are open now")
        self.agents_refused = self._counter("agents_refused", "Streams ended for bad manners")
        self.batches_acked = self._counter("batches_acked", "Batches committed")
        self.batches_refused = self._counter("batches_refused", "Batches of which nothing fits")
        self.rows_acked = self._counter("rows_acked", "Rows committed")
        self.rows_refused = self._counter("rows_refused", "Rows that could not be stored")
        self.agents_held_back = self._gauge(
            "agents_held_back", "Streams not read on now, because their part of memory is taken"
        )
        self.pending_bytes = self._gauge("pending_bytes", "Memory of what is not yet committed")
        self.pending_limit_bytes = self._gauge(
            "pending_limit_bytes", "Where pending_bytes stops growing"
        )
        self.store_up = self._gauge("store_up", "1 while ClickHouse takes inserts")
        self.insert_failures = self._counter("insert_failures", "Inserts that were tried again")
        self.rollups_refused = self._counter(
            "rollups_refused", "Attempts at hours and days that ClickHouse would not compute"
        )
        self.insert_seconds = Histogram(
            f"{_PREFIX}_insert_seconds",
            "Time of one write of all tables",
            registry=self.registry,
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
        )
        self.dates: Callable[[], tuple[Dated, ...]] = tuple
        """Of the certificates in use, asked at each scrape."""
        self.registry.register(_Certificates(self))
        self.notifier_leads = self._gauge(
            "notifier_leads", "1 while this collector is the one that sends notifications"
        )
        self.notifications_sent = self._by_receiver(Counter, "sent", "Messages that were taken")
        self.notifications_failed = self._by_receiver(Counter, "failed", "Attempts that failed")
        self.notifications_given_up = self._by_receiver(
            Counter, "given_up", "Messages that are not tried again"
        )
        self.notifications_waiting = self._by_receiver(
            Gauge, "waiting", "Notices to be sent, where this collector sends them"
        )
        info = Gauge(
            f"{_PREFIX}_build_info",
            "Version of the collector",
            ["version"],
            registry=self.registry,
        )
        info.labels(version("gpuledger")).set(1)

    def _by_receiver(self, kind: type[Metric], name: str, text: str) -> Metric:
        """A metric of each receiver: the operator chose their names."""
        full = f"{_PREFIX}_notifications_{name}"
        return kind(full, text, ["receiver"], registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, registry=self.registry)
