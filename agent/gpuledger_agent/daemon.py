"""The agent: every part put together, and the loop that writes one window after the other."""

from __future__ import annotations

import logging
import queue
import threading
import time
from pathlib import Path

import psutil

from gpuledger_agent import __version__, metrics
from gpuledger_agent.attribution.attributor import Attributor
from gpuledger_agent.attribution.sources import catalogues
from gpuledger_agent.clock import STALL_S, Clock, SteadyClock
from gpuledger_agent.config import AgentConfig, host_port
from gpuledger_agent.devices.base import Device, DeviceLayer, GpuInfo
from gpuledger_agent.dial import Dialer
from gpuledger_agent.driver import Driver
from gpuledger_agent.expiry import ExpiryWatch
from gpuledger_agent.file_limit import raise_file_limit
from gpuledger_agent.health import HealthServer
from gpuledger_agent.pipeline import Pipeline
from gpuledger_agent.processes import HostProcesses, ProcessTable
from gpuledger_agent.readiness import Pulse, ready
from gpuledger_agent.records import GpuUse, HealthRow, Window
from gpuledger_agent.rounds import GRACE_S, Rounds
from gpuledger_agent.service_manager import ServiceManager
from gpuledger_agent.serving.scraper import Scraper
from gpuledger_agent.spool import Spool
from gpuledger_agent.stream import Uplink
from gpuledger_agent.user_names import UserNames
from gpuledger_agent.vital_thread import VitalThread
from gpuledger_agent.watch import WatchCounters
from gpuledger_agent.worker import GpuWorker
from gpuledger_proto.v1 import telemetry_pb2 as wire

log = logging.getLogger(__name__)

TELL_GAPS_S = 60.0
"""How often losses are told: many of one kind in that time become one row."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def make_attributor(config: AgentConfig, clock: Clock) -> Attributor:
    """All sources of this host that the settings name, and the rules."""
    wanted = config.rules.variables()
    found = catalogues(config.sources, config.sockets, wanted.__contains__, clock.now)
    return Attributor(found, config.rules, config.owner, config.sources)


def make_processes(config: AgentConfig, attributor: Attributor) -> HostProcesses:
    """The processes of this host; the attributor hears of each."""
    return HostProcesses(
        config.rules.variables().__contains__,
        command=config.rules.wants_command,
        noticed=attributor.notice,
    )


class Daemon:
    """One agent: devices -> windows -> attribution -> spool -> stream.

    Raises SpoolError or FileRefused for files it cannot begin with. Whatever else fails is logged,
    counted and tried again. A simulation brings `clock` and `processes` of its own.
    """

    def __init__(
        self,
        config: AgentConfig,
        layer: DeviceLayer,
        clock: SteadyClock | None = None,
        processes: ProcessTable | None = None,
    ) -> None:
        self._config = config
        self.clock = clock or SteadyClock()
        self.attributor = make_attributor(config, self.clock)
        self._processes = processes or make_processes(config, self.attributor)
        self.spool = Spool(config.spool, config.spool_max_mib << 20)
        self.pipeline = Pipeline(
            self._processes,
            self.attributor,
            self.spool,
            host_pool=config.pool,
            user_name=UserNames(),
        )
        self._closed: queue.SimpleQueue[list[GpuUse]] = queue.SimpleQueue()
        self._waiting: list[GpuUse] = []
        self.driver = Driver(layer, self._make_worker, self._closed.put, self.clock, config.tick_s)
        self.scraper = Scraper(config.families, self.clock, config.window_s)
        self.dialer = Dialer(config.trust)
        self.uplink = Uplink(config.collectors, self.spool, self._hello, self.dialer)
        self.ticks = WatchCounters()
        """Sum over all windows written so far."""
        self.pulse = Pulse(config.window_s)
        self._health_server: HealthServer | None = None
        self._gpus: dict[str, GpuInfo] = {}
        self.resumes_at = self._resume_at()
        """Time before this is not measured, seconds since the epoch."""
        self._began: int | None = int(max(self.clock.now(), self.resumes_at))
        """When this run began; None once it has kept windows of GPUs."""
        self._gaps_told = 0.0
        self._self = psutil.Process()
        self._cpu_s = 0.0
        self._stepped_s = 0.0

    def _resume_at(self) -> float:
        """End of what an earlier run wrote; 0.0 if the clock has been set back since then.

        As long as its spool cannot be read, nobody knows: then the next whole window.
        """
        now = self.clock.now()
        until = self.spool.earlier_until
        if until is None:
            return (now // self._config.window_s + 1) * self._config.window_s
        return float(until) if until < now + STALL_S else 0.0

    def run(self, stop: threading.Event, manager: ServiceManager | None = None) -> None:
        """Measure and send until `stop` is set; then write what is open and end.

        The service manager, if there is one, hears of us as long as windows are written and the
        threads exist that measure and send. What these wait for, a driver that hangs or a collector
        that is away, a restart would not mend: it is told in the status.
        """
        manager = manager or ServiceManager({})
        raise_file_limit()
        log.info(
            "event=started version=%s host=%s cluster=%s window_s=%d spool=%s collectors=%s",
            *(__version__, self._config.host, self._config.cluster or "-", self._config.window_s),
            *(self._config.spool or "memory", ",".join(self._config.collectors)),
        )
        self._serve_metrics()
        self._serve_health()
        threads = [
            VitalThread("driver", self.driver.run),
            VitalThread("uplink", self.uplink.run),
        ]
        self.attributor.start()
        if self._config.scrape:
            self.scraper.start()
        for thread in threads:
            thread.start()
        self.pulse.watch(threads)
        rounds = Rounds(self.clock, self._config.window_s, self.resumes_at)
        expiry = ExpiryWatch()
        manager.alive(ready(self).line)
        while not stop.wait(min(rounds.patience(), manager.beat_s)):
            self.pulse.turned()
            expiry.look(self.dialer.dates())
            if (window := rounds.over()) is not None:
                self._write(window, self._collect(window))
            if self.pulse.alive().well:
                manager.alive(ready(self).line)
        self.pulse.watch(())
        manager.stopping()
        self.driver.stop()
        self.scraper.stop()
        threads[0].join(GRACE_S * 2)
        if uses := self._collect():
            self._write(rounds.open, uses)
        self.attributor.stop()
        self.uplink.stop()
        threads[1].join(GRACE_S)
        if self._health_server is not None:
            self._health_server.stop()
        self.spool.close()
        log.info("event=stopped")

    def _begin(self, uses: list[GpuUse]) -> None:
        """Up to the first windows of this run nobody kept any: note it with these.

        An earlier run may have measured after what it wrote last; and until this one measured, a
        driver had to open, or a clock that was set back to catch up.
        """
        if uses and self._began is not None:
            self.spool.begin(max(self._began, min(use.window.start for use in uses)))
            self._began = None

    def _serve_metrics(self) -> None:
        if not self._config.metrics_listen:
            return
        try:
            metrics.serve(self, *host_port(self._config.metrics_listen))
        except OSError as error:
            log.warning(
                "event=metrics_not_served address=%s reason=%r remedy=%r",
                *(self._config.metrics_listen, str(error), "choose another (--metrics)"),
            )

    def _serve_health(self) -> None:
        if not self._config.health_listen:
            return
        try:
            self._health_server = HealthServer(self._config.health_listen)
        except OSError as error:
            log.warning(
                "event=health_not_served address=%s reason=%r remedy=%r",
                *(self._config.health_listen, str(error), "choose another (--health)"),
            )
            return
        self._health_server.start()

    def _make_worker(self, device: Device) -> GpuWorker:
        return GpuWorker(
            device,
            self._processes,
            self.clock,
            window_s=self._config.window_s,
            tick_s=self._config.tick_s,
            written_until=self.resumes_at,
        )

    def _write(self, window: Window, uses: list[GpuUse]) -> None:
        """Write these windows of GPUs, and how the agent fared in `window`."""
        try:
            owned = self.pipeline.attribute(uses)
            self._introduce(uses)
            self._begin(uses)
            self.scraper.watch(self.pipeline.subjects())
            self.pipeline.store(owned, [self._health(window)], self.scraper.take())
            if abs(self.clock.now() - self._gaps_told) >= TELL_GAPS_S:
                self._gaps_told = self.clock.now()
                self.spool.tell_gaps()
        except Exception:  # a daemon reports what it did not foresee, and goes on
            log.exception("event=window_not_written start=%d", window.start)

    def _collect(self, window: Window | None = None) -> list[GpuUse]:
        """What the GPUs have closed, but not what came after `window`.

        That waits for the GPUs that have not closed it yet: what is written says for all of them
        how far they are, and so what is lost if the agent is killed.
        """
        now = self.clock.now()

        def early(use: GpuUse) -> bool:
            return window is not None and window.end < use.window.end <= now

        waiting = self._waiting
        while not self._closed.empty():
            waiting += self._closed.get()
            self.pulse.measured()
        self._waiting = [use for use in waiting if early(use)]
        return [use for use in waiting if not early(use)]

    def _introduce(self, uses: list[GpuUse]) -> None:
        """Send the inventory again if a GPU is new to it or has changed."""
        changed = {u.gpu.uuid: u.gpu for u in uses if self._gpus.get(u.gpu.uuid) != u.gpu}
        if changed:
            # Replaced, not updated: the uplink's thread may be reading it.
            self._gpus = self._gpus | changed
            self.uplink.reintroduce()

    def _hello(self) -> wire.Hello:
        config = self._config
        return wire.Hello(
            host=config.host,
            cluster=config.cluster,
            host_pool=config.pool,
            agent_version=__version__,
            boot_id=_boot_id(),
            driver_version=self.driver.state().version,
            labels=dict(config.labels),
            gpus=[wire_gpu(gpu) for gpu in self._gpus.values()],
        )

    def _health(self, window: Window) -> HealthRow:
        counters = self.driver.take_counters()
        self.ticks.ticks += counters.ticks
        self.ticks.missed += counters.missed
        driver = self.driver.state()
        if self._health_server is not None:
            self._health_server.report(
                driver=bool(driver.version), collector=self.uplink.counters.connected
            )
        spool = self.spool.state()
        return HealthRow(
            window=window,
            ticks=counters.ticks,
            ticks_missed=counters.missed,
            tick_ms_max=round(counters.tick_ms_max),
            gpus=driver.gpus,
            gpus_failed=driver.gpus_failed,
            processes=self.pipeline.processes,
            processes_unattributed=self.pipeline.unattributed,
            spool_batches=spool.batches,
            spool_bytes=spool.bytes,
            rows_dropped=spool.rows_dropped,
            rows_refused=self.uplink.counters.rows_refused,
            cpu_ms=self._take_cpu_ms(),
            rss_mib=self._self.memory_info().rss >> 20,
            clock_step_ms=self._take_step_ms(),
            agent_version=__version__,
        )

    def _take_cpu_ms(self) -> int:
        before, self._cpu_s = self._cpu_s, time.process_time()
        return round((self._cpu_s - before) * 1000)

    def _take_step_ms(self) -> int:
        before, self._stepped_s = self._stepped_s, self.clock.stepped_s
        return round((self._stepped_s - before) * 1000)


def wire_gpu(gpu: GpuInfo) -> wire.Gpu:
    """A GPU as Hello introduces it."""
    return wire.Gpu(
        uuid=gpu.uuid,
        index=gpu.index,
        model=gpu.model,
        memory_mib=gpu.memory_mib or 0,
        parent_uuid=gpu.parent_uuid,
        share_milli=round(gpu.share * 1000),
        mig_profile=gpu.mig_profile,
    )


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""
