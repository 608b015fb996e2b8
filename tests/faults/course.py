"""What the simulated GPUs do: a pure function of seed, host, GPU and time.

Every GPU has slots, and in every slot one job follows another. A job begins and ends in the midst
of a window, with the same use and memory all its life.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from gpuledger_agent.processes import ProcessFacts
from gpuledger_agent.records import ProcessKey

GRID_S = 3
CHANGE_S = 1.375
"""Jobs change so many seconds after a multiple of the grid: far from the ends of windows, whose
length the grid is, and from whole ticks; in binary, so that sums are exact."""

SLOTS = 3
MOST_EIGHTHS = (3, 3, 2)
"""Most SM use of the job in each slot, in eighths: together a whole GPU."""

PERIOD = (14, 54)
"""Shortest and longest time between the starts of two jobs of a slot, in grids."""

MAX_GPUS = 1_024
PIDS = 1_000
"""Numbers that a slot gives to its jobs in turn, like a host that wraps its pids."""

TEAMS = ("", "search", "ads", "speech")
MODELS = ("ranker", "chat", "asr", "embed")


@dataclass(frozen=True, slots=True)
class Job:
    """A process on one GPU, from `start` until `end` (seconds since the epoch, exact)."""

    pid: int
    start: float
    end: float
    sm_fraction: float
    mem_mib: int
    name: str
    user_id: int
    environ: Mapping[str, str]

    @property
    def key(self) -> ProcessKey:
        """As the books name it."""
        return ProcessKey(self.pid, int(self.start))

    @property
    def facts(self) -> ProcessFacts:
        """What /proc would say of it."""
        return ProcessFacts(
            key=self.key,
            started=self.start,
            name=self.name,
            uid=self.user_id,
            environ=self.environ,
        )

    def seconds(self, begin: float, end: float) -> float:
        """How much of this interval it runs."""
        return max(min(end, self.end) - max(begin, self.start), 0.0)

    def runs(self, at: float) -> bool:
        """Whether a reading at this time sees it; readings tell of the time up to them."""
        return self.start < at <= self.end


@dataclass(frozen=True, slots=True)
class _Slot:
    gpu: int
    number: int
    period_s: int
    phase_s: int

    def turn(self, at: float) -> int:
        """Number of the job that began last, at this time."""
        return math.floor((at - self.phase_s - CHANGE_S) / self.period_s)


class Course:
    """The jobs of one host."""

    def __init__(self, seed: int, host: str) -> None:
        self._root = f"{seed}/{host}"
        self._slots = lru_cache(maxsize=None)(self._make_slots)
        self._job = lru_cache(maxsize=8 * MAX_GPUS)(self._make_job)

    def jobs(self, gpu: int, begin: float, end: float) -> Iterator[Job]:
        """The jobs that run on a GPU at any time of this interval, or ended just at its begin."""
        for slot in self._slots(gpu):
            for turn in range(slot.turn(begin), slot.turn(end) + 1):
                job = self._job(slot, turn)
                if job.start < end and job.end >= begin:
                    yield job

    def find(self, pid: int, at: float) -> Job:
        """The job that has this pid at this time, or had it last."""
        rest, gpu = divmod(pid - PIDS, MAX_GPUS)
        number, slot_number = divmod(rest, SLOTS)
        slot = self._slots(gpu)[slot_number]
        turn = slot.turn(at)
        return self._job(slot, turn if turn % PIDS == number else turn - 1)

    def _make_slots(self, gpu: int) -> tuple[_Slot, ...]:
        dice = random.Random(f"{self._root}/{gpu}")
        periods = [dice.randint(*PERIOD) for _ in range(SLOTS)]
        return tuple(
            _Slot(gpu, n, period * GRID_S, dice.randrange(period) * GRID_S)
            for n, period in enumerate(periods)
        )

    def _make_job(self, slot: _Slot, turn: int) -> Job:
        dice = random.Random(f"{self._root}/{slot.gpu}/{slot.number}/{turn}")
        start = turn * slot.period_s + slot.phase_s + CHANGE_S
        grids = slot.period_s // GRID_S
        lasts = GRID_S * dice.choice([grids, dice.randint(grids // 4, grids)])
        team, model = dice.choice(TEAMS), dice.choice(MODELS)
        environ = {"GPULEDGER_TEAM": team, "GPULEDGER_MODEL": model} if team else {}
        return Job(
            pid=PIDS + ((turn % PIDS) * SLOTS + slot.number) * MAX_GPUS + slot.gpu,
            start=start,
            end=start + lasts,
            sm_fraction=dice.randint(0, MOST_EIGHTHS[slot.number]) / 8,
            mem_mib=dice.randint(1, 24_000),
            name=f"serve-{model}",
            user_id=dice.choice([0, 4_001, 4_002]),
            environ=environ,
        )
