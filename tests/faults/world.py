"""Everything that runs: hosts with their agents, collectors, ClickHouse, a proxy on each line."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from gpuledger_collector.store.client import StoreConfig, connect
from gpuledger_collector.store.migrate import migrate
from tests.faults.agent import SPOOL_UNUSABLE
from tests.faults.devices import WallClock
from tests.faults.diary import last_note, noted_life
from tests.faults.processes import Managed, Store
from tests.faults.proxy import HOST, Network, Proxy
from tests.small_disk import SmallDisk, mounted_disk

COLLECTORS = 2
DISK_MIB = 16

NO_STORE = frozenset({1, 2})
"""Exit codes of a collector that found no ClickHouse when it started."""

DRAIN_S = 300.0
TOLD = 3
"""By its third append an agent has also told what was lost before."""


@dataclass(eq=False)
class Host:
    """One agent, its disk, its clock and its lines to the collectors."""

    name: str
    gpus: int
    seed: int
    diary: Path
    spool: Path
    disk: SmallDisk | None
    lines: list[Proxy]

    def __post_init__(self) -> None:
        """Prepare what does not run."""
        self.diary.mkdir(parents=True)
        self.wall = WallClock(self.diary / "clock")
        self.lives = 0
        self.agent = Managed(
            f"agent {self.name}",
            self._command,
            self.diary / "agent.log",
            frozenset({SPOOL_UNUSABLE}),
        )

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "tests.faults.agent", str(self.diary)]
        command += [str(self.spool / "spool.sqlite"), "--seed", str(self.seed)]
        command += ["--host", self.name, "--gpus", str(self.gpus), "--life", str(self.lives)]
        self.lives += 1
        return command + [word for line in self.lines for word in ("--collector", line.address)]

    @property
    def measures(self) -> bool:
        """Whether the agent that runs has kept windows of GPUs: so it told what was lost before."""
        appends = noted_life(self.diary, self.lives - 1).appends.values()
        return not self.agent.ended and any(a.safe and a.windows for a in appends)

    @property
    def drained(self) -> bool:
        """Whether the spool of the agent that runs holds but the row that it just appended."""
        note = last_note(self.diary, self.lives - 1)
        return note.get("event") == "done" and note["n"] >= TOLD and note["waiting"] <= 1


@dataclass(eq=False)
class Collector:
    """One collector on a port of its own, and its line to ClickHouse."""

    name: str
    address: str
    line: Proxy
    store: StoreConfig
    password_file: Path
    log: Path

    def __post_init__(self) -> None:
        """Prepare what does not run."""
        self.process = Managed(self.name, self._command, self.log, NO_STORE)

    def _command(self) -> list[str]:
        command = [str(Path(sys.executable).parent / "gpuledger"), "serve"]
        command += ["--clickhouse-url", self.line.url]
        command += ["--database", self.store.database, "--username", self.store.username]
        command += ["--password-file", str(self.password_file)]
        return [*command, "--listen", self.address, "--metrics", ""]


class World:
    """The whole deployment under one directory; runs while entered."""

    def __init__(self, directory: Path, seed: int, hosts: int, gpus: int) -> None:
        self._directory = directory
        self._seed = seed
        self._stack = ExitStack()
        self._network = Network()
        self.store = Store(directory / "clickhouse")
        self.hosts: list[Host] = []
        self.collectors: list[Collector] = []
        self._shape = (hosts, gpus)

    @property
    def books(self) -> StoreConfig:
        """Where the books are, by no proxy."""
        return self.store.books

    @property
    def disks(self) -> bool:
        """Whether disks can be filled here."""
        return all(host.disk is not None for host in self.hosts)

    @property
    def managed(self) -> list[Managed]:
        """All agents and collectors."""
        return [h.agent for h in self.hosts] + [c.process for c in self.collectors]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._network)
            stack.callback(self.store.stop)
            self.store.start()
            with connect(self.books, create_database=True) as client:
                migrate(client)
            self._build(stack)
            for process in reversed(self.managed):
                process.start()
                stack.callback(process.destroy)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _build(self, stack: ExitStack) -> None:
        for number in range(COLLECTORS):
            line = self._proxy(urlsplit(self.store.url).netloc)
            name = f"collector {number}"
            log = self._directory / f"{name}.log"
            password = self.store.password_file
            self.collectors.append(
                Collector(name, _free_address(), line, self.books, password, log)
            )
        hosts, gpus = self._shape
        for number in range(hosts):
            name = f"node-{number:02}"
            spool = self._directory / f"spool {name}"
            disk = stack.enter_context(mounted_disk(spool, DISK_MIB))
            lines = [self._proxy(c.address) for c in self.collectors]
            lines = lines[number % COLLECTORS :] + lines[: number % COLLECTORS]
            diary = self._directory / "diaries" / name
            self.hosts.append(Host(name, gpus, self._seed, diary, spool, disk, lines))

    def _proxy(self, upstream: str) -> Proxy:
        proxy = Proxy(self._network, upstream)
        proxy.start()
        return proxy

    def look(self) -> None:
        """Do what an init does, for all."""
        now = time.monotonic()
        for process in self.managed:
            process.look(now)

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Look after everything until the condition holds. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:.0f} s: {what}")
            self.look()
            time.sleep(0.05)

    def heal(self) -> None:
        """Undo every lasting fault."""
        self.store.ready()
        for line in [line for host in self.hosts for line in host.lines] + [
            collector.line for collector in self.collectors
        ]:
            line.clear()
        for host in self.hosts:
            if host.disk is not None:
                host.disk.protect("rw")
                host.disk.free()
            host.wall.catch_up()

    def drain(self) -> None:
        """Let all agents measure, end them, then let others without GPUs send what is left.

        Raises TimeoutError.
        """
        agents = [host.agent for host in self.hosts]
        self.wait(
            lambda: all(host.measures for host in self.hosts), DRAIN_S, "every agent to measure"
        )
        self._end(agents)
        for host in self.hosts:
            host.gpus = 0
            host.agent.start()
        self.wait(
            lambda: all(host.drained for host in self.hosts), DRAIN_S, "the spools to be empty"
        )
        self._end(agents)

    def end_collectors(self) -> None:
        """End all collectors in their order. Raises TimeoutError."""
        self._end([collector.process for collector in self.collectors])

    def _end(self, processes: list[Managed]) -> None:
        for process in processes:
            process.end()
        self.wait(lambda: all(p.ended for p in processes), DRAIN_S, "processes to end")

    def surprises(self) -> list[str]:
        """Whatever happened that no fault explains."""
        found = [*self.store.surprises]
        for process in self.managed:
            found += process.surprises
            found += process.tracebacks()
        return found


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return f"{HOST}:{probe.getsockname()[1]}"
