"""The agent's own state for Prometheus, read from its parts when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gpuledger_agent import __version__, expiry
from gpuledger_agent.metrics_server import MetricsServer
from gpuledger_agent.readiness import ready
from gpuledger_agent.serving.errors import REASONS

if TYPE_CHECKING:
    from gpuledger_agent.daemon import Daemon

Value = tuple[type[GaugeMetricFamily] | type[CounterMetricFamily], str, str, float]


class DaemonCollector(Collector):
    """Turns the daemon's counters into Prometheus metrics, all named `gpuledger_agent_…`."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def collect(self) -> Iterator[Metric]:
        """One metric per fact."""
        for family, name, text, value in self._values():
            metric = family(f"gpuledger_agent_{name}", text)
            metric.add_metric([], value)
            yield metric
        yield from expiry.metrics("gpuledger_agent", self._daemon.dialer.dates())
        yield from self._sources()
        yield self._scrape_failures()
        info = GaugeMetricFamily(
            "gpuledger_agent_build_info", "Version of the agent", labels=["version"]
        )
        info.add_metric([__version__], 1)
        yield info

    def _sources(self) -> Iterator[Metric]:
        """How each source of workloads fares; a source is one of ours, never a stranger's name."""
        states = [(c.name, c.state) for c in self._daemon.attributor.catalogues]
        up = GaugeMetricFamily("gpuledger_agent_source_up", "1 while it answers", labels=["source"])
        queries = CounterMetricFamily(
            "gpuledger_agent_source_queries", "Queries", labels=["source"]
        )
        failures = CounterMetricFamily(
            "gpuledger_agent_source_failures", "Queries that failed", labels=["source"]
        )
        for name, state in states:
            if state.present:
                up.add_metric([name], state.up)
            queries.add_metric([name], state.queries)
            failures.add_metric([name], state.failures)
        yield from (up, queries, failures)

    def _scrape_failures(self) -> Metric:
        """Why servers were not read; a reason is one of ours."""
        failures = CounterMetricFamily(
            "gpuledger_agent_scrape_failures", "Servers that were not read", labels=["reason"]
        )
        state = self._daemon.scraper.state
        for reason in REASONS:
            failures.add_metric([reason], state.failures[reason])
        return failures

    def _values(self) -> Iterator[Value]:
        gauge, counter = GaugeMetricFamily, CounterMetricFamily
        driver = self._daemon.driver.state()
        yield gauge, "driver_up", "1 while the driver answers", bool(driver.version)
        yield gauge, "gpus", "GPUs that the driver knows", driver.gpus
        yield gauge, "gpus_failed", "GPUs lost, hung or failing now", driver.gpus_failed
        stuck = not self._daemon.pulse.alive().well
        yield gauge, "stuck", "1 while its loop does not turn, or a thread of it has ended", stuck
        stepped = self._daemon.clock.stepped_s
        yield counter, "clock_stepped_seconds", "Steps of the host's clock, either way", stepped
        ticks = self._daemon.ticks
        yield counter, "ticks", "Readings of a GPU", ticks.ticks
        yield counter, "ticks_missed", "Readings that were due and did not happen", ticks.missed
        pipeline = self._daemon.pipeline
        yield gauge, "processes", "Processes in the latest window", pipeline.processes
        yield gauge, "processes_unattributed", "Those without a team", pipeline.unattributed
        yield gauge, "grants", "Workloads that have GPUs", pipeline.grants
        yield (
            gauge,
            "grants_unresolved",
            "Devices granted that are no GPU of this host",
            pipeline.grants_unresolved,
        )
        attributor = self._daemon.attributor
        refused = attributor.labels_refused
        yield counter, "labels_refused", "Label values that cannot stand in the books", refused
        excess = attributor.labels_excess
        yield counter, "labels_excess", "Label values beyond the host's limit", excess
        scraper = self._daemon.scraper.state
        yield gauge, "servers", "Inference servers that are read", scraper.servers
        yield counter, "scrapes", "Servers asked for their metrics", scraper.scrapes
        yield counter, "scrape_seconds", "Time that this took, of all threads", scraper.seconds
        spool, limit = self._daemon.spool.state(), self._daemon.spool.max_bytes
        yield gauge, "spool_batches", "Batches that wait for an ack", spool.batches
        yield gauge, "spool_bytes", "Bytes of them", spool.bytes
        yield gauge, "spool_limit_bytes", "Where spool_bytes stops growing", limit
        yield gauge, "spool_on_disk", "0 while the disk takes nothing", spool.on_disk
        yield (
            counter,
            "rows_dropped",
            "Rows given up: spool full or disk failing",
            spool.rows_dropped,
        )
        link = self._daemon.uplink.counters
        yield gauge, "collector_connected", "1 while a collector has welcomed us", link.connected
        yield counter, "connects", "Streams that a collector welcomed", link.connects
        yield counter, "batches_sent", "Batches sent, repeats included", link.batches_sent
        yield counter, "batches_refused", "Batches that a collector refused", link.batches_refused
        yield counter, "rows_acked", "Rows committed by a collector", link.rows_acked
        yield counter, "rows_refused", "Rows that a collector refused", link.rows_refused


def serve(daemon: Daemon, host: str, port: int) -> MetricsServer:
    """Answer Prometheus and probes on this address, in a thread. Raises OSError."""
    registry = CollectorRegistry()
    registry.register(DaemonCollector(daemon))
    ProcessCollector(namespace="gpuledger_agent", registry=registry)
    probes = {"/healthz": daemon.pulse.alive, "/readyz": lambda: ready(daemon)}
    server = MetricsServer(host, port, registry, probes)
    server.start()
    return server
