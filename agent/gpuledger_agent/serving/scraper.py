"""Reads all servers of this host once a window, in threads of its own.

A server that hangs, drips or lies costs its own figures and a moment of one of few threads. Whoever
writes windows never waits: it takes what has come.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from gpuledger_agent.clock import Clock
from gpuledger_agent.log import Once
from gpuledger_agent.records import Window
from gpuledger_agent.serving.delta import Served
from gpuledger_agent.serving.discovery import discover
from gpuledger_agent.serving.errors import ScrapeError
from gpuledger_agent.serving.families import Family
from gpuledger_agent.serving.reading import Reading
from gpuledger_agent.serving.server import COST_SHARE, Server
from gpuledger_agent.serving.servers import Servers
from gpuledger_agent.serving.subjects import Subject
from gpuledger_agent.serving.traffic import Traffic, rows

log = logging.getLogger(__name__)

THREADS = 4
"""Servers that are asked at a time."""

LOOK_S = 30.0
"""How often processes are looked through for new servers; at once when a workload is new."""

MAX_WAITING = 10_000
"""Rows that wait to be written; what comes beyond them is lost."""

MAX_SAMPLES = 40_000
"""What is remembered of all servers together: a counter, or a bucket of a histogram, is one."""


@dataclass(slots=True)
class ScraperState:
    """How scraping fares. `failures` by reason; `seconds` is time spent asking, of all threads."""

    servers: int = 0
    scrapes: int = 0
    seconds: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)


class Scraper:
    """Finds and reads the servers of the workloads that it is told of.

    `watch` and `take` never block and may be called from any thread.
    """

    def __init__(
        self,
        families: Sequence[Family],
        clock: Clock,
        window_s: int,
        proc: Path = Path("/proc"),
    ) -> None:
        self._families = families
        self._clock = clock
        self._window_s = window_s
        self._proc = proc
        self._subjects: tuple[Subject, ...] = ()
        self._watched: frozenset[Subject] = frozenset()
        self._servers = Servers()
        self._looked = -LOOK_S
        self._rows: queue.SimpleQueue[Traffic] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS, "scrape")
        self._thread = threading.Thread(target=self._run, name="serving", daemon=True)
        self._lock = threading.Lock()
        self._once = Once(log)
        self.state = ScraperState()

    def start(self) -> None:
        """Begin to look for servers and to ask them."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; what is asked for just now ends by itself."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def watch(self, subjects: Sequence[Subject]) -> None:
        """These workloads may be serving, and no others."""
        self._subjects = tuple(subjects)

    def take(self) -> list[Traffic]:
        """What was served, as far as it is known and was not taken before."""
        taken: list[Traffic] = []
        try:
            while len(taken) < MAX_WAITING:
                taken.append(self._rows.get_nowait())
        except queue.Empty:
            pass
        return taken

    def _run(self) -> None:
        seconds = self._window_s
        start = int(self._clock.now() // seconds) * seconds
        while not self._stop.wait(max(start + seconds - self._clock.now(), 0.0)):
            try:
                self._round(Window(start, seconds))
            except Exception:  # a daemon reports what it did not foresee, and goes on
                log.exception("event=servers_not_read start=%d", start)
            start = self._next(start)

    def _next(self, start: int) -> int:
        """The window after this one, or the present one after a step of the clock or a pause."""
        following = start + self._window_s
        present = int(self._clock.now() // self._window_s) * self._window_s
        return present if abs(present - following) > self._window_s else following

    def _round(self, window: Window) -> None:
        """Ask all servers that are due what they served in this window."""
        self._look()
        now = time.monotonic()
        # Those that fail may take long: they come last.
        for server in sorted(self._servers.present(), key=lambda server: server.failures):
            if server.due <= now and not server.busy:
                server.busy = True
                self._pool.submit(self._ask, server, window)
        self.state.servers = self._servers.answering()

    def _look(self) -> None:
        """Find servers again, if it is time or there are other workloads than before."""
        subjects, now = self._subjects, time.monotonic()
        watched = frozenset(subjects)
        if watched != self._watched or now - self._looked >= LOOK_S:
            self._servers.keep(discover(subjects, self._families, self._proc), now)
            self._watched, self._looked = watched, now

    def _ask(self, server: Server, window: Window) -> None:
        began, cpu = time.monotonic(), time.thread_time()
        try:
            reading = server.ask(self._families, self._proc)
            self._took(server, window, reading)
        except ScrapeError as error:
            self._failed(server, error)
        except Exception as error:  # a daemon reports what it did not foresee, and goes on
            log.exception("event=server_error server=%s", server.address)
            self._failed(server, ScrapeError("unforeseen", repr(error)))
        finally:
            now = time.monotonic()
            server.due = max(server.due, now + (time.thread_time() - cpu) / COST_SHARE)
            server.busy = False
            with self._lock:
                self.state.scrapes += 1
                self.state.seconds += now - began

    def _took(self, server: Server, window: Window, reading: Reading) -> None:
        now = time.monotonic()
        observed_ms = min(round((now - server.since) * 1_000), window.seconds * 1_000)
        with self._lock:
            served = self._counted(server, reading, now)
        self._once.over(server, "event=server_read_again server=%s", server.address)
        if served is None or self._rows.qsize() > MAX_WAITING:
            return
        subject = server.candidate.subject
        for row in rows(
            window, subject.owner, (subject.kind, subject.workload),
            (server.address, server.family), observed_ms, served,
        ):  # fmt: skip
            self._rows.put(row)

    def _counted(self, server: Server, reading: Reading, now: float) -> dict[str, Served] | None:
        """What it served since its latest answer.

        Raises ScrapeError, and forgets it, if all servers are more than can be remembered.
        """
        others = sum(one.size for one in self._servers.all() if one is not server)
        if others + reading.size > MAX_SAMPLES:
            server.counted = None
            text = f"and the others of this host have over {MAX_SAMPLES:,} series"
            raise ScrapeError("too_many", text)
        return server.took(reading, now)

    def _failed(self, server: Server, error: ScrapeError) -> None:
        server.failed(error, time.monotonic())
        with self._lock:
            self.state.failures[error.reason] += 1
        if server.family or server.candidate.said:
            self._once.warning(
                server,
                "event=server_not_read server=%s workload=%r reason=%r its traffic is not booked",
                *(server.address, server.candidate.subject.workload, server.problem),
            )
