"""One run: the world, the faults upon it, and then the comparison."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from clickhouse_connect.driver.client import Client

from gpuledger_collector.store.client import connect
from tests.faults.agent import WINDOW_S
from tests.faults.compare import Differences, compare
from tests.faults.course import Course
from tests.faults.diary import lives
from tests.faults.inflict import KINDS, ON_DISKS, Fault, Target
from tests.faults.ledger import check_hours, check_merged
from tests.faults.plan import plan
from tests.faults.processes import NotNow
from tests.faults.truth import expected
from tests.faults.world import World

START_S = 60.0
LOOK_S = 0.02
TOLD_EVERY_S = 10.0

Tell = Callable[[str], None]
"""Is told how far the run is."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run. `pause_s`: the mean time between two faults; `gpus`: of each host."""

    seed: int
    faults: int
    hosts: int
    gpus: int
    pause_s: float


@dataclass(slots=True)
class Result:
    """What came of it."""

    inflicted: Counter[str] = field(default_factory=Counter)
    differences: Differences = field(default_factory=Differences)
    surprises: list[str] = field(default_factory=list)
    swallowed: int = 0
    starts: Counter[str] = field(default_factory=Counter)

    @property
    def good(self) -> bool:
        """Whether the books are what they would have been without faults."""
        return not self.differences.found and not self.surprises


class Run:
    """Inflicts faults upon a world that is entered, and judges what is left."""

    def __init__(self, settings: Settings, world: World, tell: Tell) -> None:
        self._settings = settings
        self._world = world
        self._tell = tell
        self._ends: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._owed: deque[Fault] = deque()
        """Faults that found nothing to strike at when it was their turn; they get another."""
        self.result = Result()

    def inflict(self) -> None:
        """All faults, one after the other, and the end of those that last."""
        settings, world = self._settings, self._world
        targets = {
            Target.HOST: len(world.hosts),
            Target.COLLECTOR: len(world.collectors),
            Target.STORE: 1,
        }
        kinds = [name for name in KINDS if name not in ON_DISKS or world.disks]
        told = time.monotonic()
        for pause_s, fault in plan(settings.seed, kinds, targets, settings.pause_s):
            self._live(pause_s)
            self._owed.append(fault)
            self._strike(self._owed.popleft())
            done = self.result.inflicted.total()
            if time.monotonic() - told > TOLD_EVERY_S:
                told = time.monotonic()
                self._tell(f"{done} of {settings.faults} faults")
            if done >= settings.faults and all(self.result.inflicted[kind] for kind in kinds):
                break
        while self._ends:
            self._live(LOOK_S)

    def _strike(self, fault: Fault) -> None:
        try:
            end = KINDS[fault.kind].inflict(self._world, fault)
        except NotNow:
            self._owed.append(fault)
            return
        self.result.inflicted[fault.kind] += 1
        if end is not None:
            at = time.monotonic() + fault.seconds
            heapq.heappush(self._ends, (at, next(self._numbers), end))

    def _live(self, seconds: float) -> None:
        """Let time pass: processes are started again, and faults end."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            self._world.look()
            while self._ends and self._ends[0][0] <= now:
                heapq.heappop(self._ends)[2]()
            time.sleep(LOOK_S)

    def judge(self) -> None:
        """Heal the world, let it send what is left, and compare."""
        world, result = self._world, self.result
        world.heal()
        self._tell("no more faults; the spools are sent")
        world.drain()
        result.swallowed = sum(c.line.swallowed for c in world.collectors)
        with connect(world.books) as client:
            self._tell("every window is compared")
            self.compare(client, result.differences)
            check_hours(client, result.differences)
            world.end_collectors()
            check_merged(client, result.differences)
        result.surprises = world.surprises()
        result.starts = Counter(
            agents=sum(host.agent.starts for host in world.hosts),
            collectors=sum(c.process.starts for c in world.collectors),
            ClickHouse=world.store.starts,
        )

    def compare(self, client: Client, differences: Differences) -> None:
        """Hold the windows of every host to the truth."""
        for host in self._world.hosts:
            course = Course(self._settings.seed, host.name)
            books = expected(course, lives(host.diary), WINDOW_S)
            compare(client, host.name, books, WINDOW_S, differences)


def run(settings: Settings, directory: Path, tell: Tell) -> Result:
    """Run it all under an empty directory. Raises TimeoutError if the world does not recover."""
    with World(directory, settings.seed, settings.hosts, settings.gpus) as world:
        ongoing = Run(settings, world, tell)
        begin(world)
        ongoing.inflict()
        ongoing.judge()
        return ongoing.result


def begin(world: World) -> None:
    """Wait until windows of every host arrive."""
    with connect(world.books) as client:
        world.wait(
            lambda: (
                client.query("SELECT uniqExact(host) FROM gpu_usage").result_rows[0][0]
                == len(world.hosts)
            ),
            START_S,
            "every host to report",
        )
