"""A whole collector: gRPC server, writer, roll-ups, health, metrics; and its orderly end."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from gpuledger_agent.config import host_port
from gpuledger_agent.service_manager import ServiceManager
from gpuledger_agent.vital_thread import VitalThread
from gpuledger_collector.access import access_for
from gpuledger_collector.admission import PENDING_MIB, Admission
from gpuledger_collector.chores import Chores
from gpuledger_collector.ledger.findings import EVERY_S
from gpuledger_collector.ledger.notify.config import NotifyConfig
from gpuledger_collector.ledger.rules import Rule
from gpuledger_collector.listening import Credentials, Tls, listen
from gpuledger_collector.metrics import Metrics
from gpuledger_collector.pages import Pulse, serve_pages
from gpuledger_collector.server import TelemetryService
from gpuledger_collector.store.client import StoreConfig, connect
from gpuledger_collector.store.migrate import require_current
from gpuledger_collector.validate import MAX_BYTES
from gpuledger_collector.window_age import WindowAge
from gpuledger_collector.writer import Writer

log = logging.getLogger(__name__)

DRAIN_S = 10.0
"""How long the end waits for agents' last batches to be committed, and for a roll-up to stop. What
is cut short is sent again, or done again."""

STREAM_S = 3_600.0
"""How long a stream lasts. Then its agent shows anew who it is, and to any collector."""

GRACE_S = 60.0
"""For connections that outlive their stream; an agent that means well has left its own."""

HEALTH_S = 1.0
"""How often health is brought up to date."""

_OPTIONS = (
    # Room for the message around a batch of the size that Welcome promises.
    ("grpc.max_receive_message_length", MAX_BYTES + 4096),
    ("grpc.max_concurrent_streams", 16),
    # What a stream may send that is not read: no more, however fast its network is.
    ("grpc.http2.lookahead_bytes", 16_384),
    ("grpc.http2.bdp_probe", 0),
    # Beyond 1,000 streams that begin at once gRPC would leave some without any answer.
    ("grpc.server.max_pending_requests", 1 << 20),
    ("grpc.server.max_pending_requests_hard_limit", 1 << 20),
    ("grpc.server_max_unrequested_time_in_server", 300),
    ("grpc.max_metadata_size", 8192),
    # Agents ping twice a minute; a host that vanished is noticed by our own.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """Settings of one collector.

    `metrics` "" serves none; `insecure` allows plaintext beyond this host; `max_wait_s` is how
    long a batch waits for others, so that inserts are few and large; `pending_mib` is what all
    agents together may have in memory; `stream_s` is how long a stream may last. `rules` are
    evaluated every `findings_every_s` seconds, never if that is 0. `notify` says who is told of
    what they find.
    """

    listen: str = "127.0.0.1:7670"
    metrics: str = "127.0.0.1:7671"
    store: StoreConfig = field(default_factory=StoreConfig)
    tls: Tls | None = None
    token_file: Path | None = None
    insecure: bool = False
    max_wait_s: float = 1.0
    rules: tuple[Rule, ...] = ()
    findings_every_s: float = EVERY_S
    notify: NotifyConfig = field(default_factory=NotifyConfig)
    pending_mib: int = PENDING_MIB
    stream_s: float = STREAM_S


class Collector:
    """Runs in one event loop. Raises ServeError or StoreError before it serves.

    `beside` are threads of the process that were started and must live as long as it serves.
    """

    def __init__(self, settings: CollectorSettings, beside: Sequence[VitalThread] = ()) -> None:
        self._settings = settings
        self._beside = beside
        self._metrics = Metrics()
        self._health = health.aio.HealthServicer()
        self._stop = asyncio.Event()
        self._threads_stop = threading.Event()
        self._window_age = WindowAge(settings.store)
        self._pulse = Pulse()
        self._metrics.stuck.set_function(lambda: not self._pulse.alive().well)
        self.port = 0

    async def run(
        self, ready: threading.Event | None = None, manager: ServiceManager | None = None
    ) -> None:
        """Serve until `stop`; then end streams, commit what was received, and return.

        The service manager, if there is one, hears of us while the port is open, the event loop
        turns and every thread lives, whatever ClickHouse does.
        """
        manager = manager or ServiceManager({})
        self._check_schema()
        settings, metrics = self._settings, self._metrics
        admission = Admission(metrics, settings.pending_mib << 20)
        writer = Writer(
            settings.store, metrics, admission, self._window_age.oldest, settings.max_wait_s
        )
        service = TelemetryService(
            admission, metrics, access_for(settings.tls, settings.token_file), settings.stream_s
        )
        credentials = Credentials(settings.tls) if settings.tls else None
        if credentials is not None:
            metrics.dates = credentials.dates
        server = self._server(service, credentials)
        pages = serve_pages(settings.metrics, metrics, self._pulse, lambda: writer.up)
        threads = Chores(
            settings.store,
            settings.rules,
            settings.findings_every_s,
            settings.notify,
            credentials,
            metrics,
            self._window_age,
            self._threads_stop,
        ).threads()
        writing = asyncio.create_task(writer.run())
        writing.add_done_callback(lambda _: self._stop.set())
        await server.start()
        for thread in threads:
            thread.start()
        self._pulse.watch([*threads, *self._beside])
        store = self._settings.store
        self._pulse.serving = True
        log.info("event=serving port=%d store=%s database=%s", self.port, store.url, store.database)
        if ready is not None:
            ready.set()
        try:
            await self._keep_health(writer, manager)
        finally:
            self._pulse.serving = False
            manager.stopping()
            log.info("event=draining")
            self._threads_stop.set()
            until = time.monotonic() + DRAIN_S
            await self._drain(server, service)
            writing.cancel()
            for thread in threads:
                await asyncio.to_thread(thread.join, max(until - time.monotonic(), 1.0))
            if pages is not None:
                pages.shutdown()
                pages.server_close()
            log.info("event=stopped")
        with suppress(asyncio.CancelledError):
            await writing

    def stop(self) -> None:
        """Begin the end. From another thread: `loop.call_soon_threadsafe(collector.stop)`."""
        self._stop.set()

    def _check_schema(self) -> None:
        with connect(self._settings.store) as client:
            require_current(client)
        self._window_age.read()

    def _server(
        self, service: TelemetryService, credentials: Credentials | None
    ) -> grpc.aio.Server:
        settings = self._settings
        ages = (
            ("grpc.max_connection_age_ms", round(1_200 * settings.stream_s)),
            ("grpc.max_connection_age_grace_ms", round(1_000 * GRACE_S)),
        )
        server = grpc.aio.server(options=(*_OPTIONS, *ages))
        server.add_generic_rpc_handlers((service.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self.port = listen(server, settings.listen, credentials, insecure=settings.insecure)
        return server

    async def _keep_health(self, writer: Writer, manager: ServiceManager) -> None:
        while not self._stop.is_set():
            self._pulse.turned()
            response = health_pb2.HealthCheckResponse
            status = response.SERVING if writer.up else response.NOT_SERVING
            await self._health.set("", status)
            store = "ClickHouse takes inserts" if writer.up else "ClickHouse takes no inserts"
            if self._pulse.alive().well:
                manager.alive(f"port {self.port} is open; {store}")
            try:
                async with asyncio.timeout(HEALTH_S):
                    await self._stop.wait()
            except TimeoutError:
                continue

    async def _drain(self, server: grpc.aio.Server, service: TelemetryService) -> None:
        """Take no more streams and batches, and let those that are here have their answers."""
        await self._health.enter_graceful_shutdown()
        # Refuses new calls at once. It must not cancel those that are here before the limit below
        # says that they had no answer.
        refusing = asyncio.create_task(server.stop(grace=2 * DRAIN_S))
        try:
            async with asyncio.timeout(DRAIN_S):
                await service.drain()
        except TimeoutError:
            log.warning("event=drain_incomplete what is not committed is sent again by its agent")
        # Whoever watches our health would stay for ever.
        await server.stop(grace=None)
        await refusing


class CollectorThread:
    """A collector in a thread of its own, for tests, the demo and `gpuledger up`."""

    def __init__(self, settings: CollectorSettings, beside: Sequence[VitalThread] = ()) -> None:
        self._settings = settings
        self._beside = beside
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._collector: Collector | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    @property
    def address(self) -> str:
        """Where it listens."""
        host, _ = host_port(self._settings.listen)
        return f"{host}:{self._collector.port if self._collector else 0}"

    def start(self) -> None:
        """Start, and wait until it serves. Raises ServeError or StoreError."""
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Drain and end."""
        if self._collector is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._collector.stop)
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._main())
        except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
            self._error = error
            log.debug("event=collector_ended reason=%r", error)
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._collector = Collector(self._settings, self._beside)
        await self._collector.run(self._ready)
