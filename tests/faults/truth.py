"""What must stand in the books of one host, computed from its course and its agents' diaries.

Nothing of the agent's own arithmetic is used. A GPU was observed between two readings of one life
that lie no further apart than the agent promises to bridge, and there the course says what it did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from gpuledger_agent.worker import GAP_MIN_S
from tests.faults.course import Course, Job
from tests.faults.diary import Append, Life

TAIL_WINDOWS = 5
"""Windows of one GPU, at most, that an agent may hold in memory when it is killed: the open one,
those of the grace after a window's end, and some for a machine that is busy."""

NOISE = 1e-3
"""What sums of binary fractions of milliseconds may be off."""


@dataclass(slots=True)
class TrueProcess:
    """What one job did on its GPU in one window, in milliseconds."""

    job: Job
    present: float = 0.0
    shared: float = 0.0
    busy: float = 0.0


@dataclass(slots=True)
class TrueWindow:
    """What one GPU did in one window, as far as it was observed, in milliseconds.

    `until`: up to when that was, seconds since the epoch.
    """

    until: float = 0.0
    observed: float = 0.0
    held: float = 0.0
    busy: float = 0.0
    processes: dict[tuple[int, int], TrueProcess] = field(default_factory=dict)

    @property
    def held_or_busy(self) -> float:
        """A process that ended is not seen again, but its last work still counts."""
        return min(max(self.held, self.busy), self.observed)

    @property
    def whole(self) -> bool:
        """Whether every figure is a whole number of milliseconds, so that nothing is rounded."""
        figures = [self.observed, self.held_or_busy, self.busy]
        for each in self.processes.values():
            figures += [each.present, each.busy, self.held_by(each)]
        return all(abs(figure - round(figure)) < NOISE for figure in figures)

    def held_by(self, process: TrueProcess) -> float:
        """What it was busy, and its share of the rest of the held time."""
        shared = sum(each.shared for each in self.processes.values())
        rest = self.held_or_busy - self.busy
        return process.busy + (rest * process.shared / shared if shared else 0.0)


Key = tuple[int, int]
"""A window: GPU and start."""


@dataclass(slots=True)
class Expected:
    """What one host's books must hold.

    `must` are windows that an agent kept for certain, `may` those of which a kill leaves it open,
    `unkept` those that were observed and not kept before a kill. `health` are starts of the agent's
    own rows. `rows_dropped` is how many rows agents said they gave up. `faults` is wrong already.
    """

    must: dict[Key, TrueWindow] = field(default_factory=dict)
    may: dict[Key, TrueWindow] = field(default_factory=dict)
    unkept: dict[Key, TrueWindow] = field(default_factory=dict)
    health: set[int] = field(default_factory=set)
    rows_dropped: int = 0
    faults: list[str] = field(default_factory=list)


def expected(course: Course, lives: list[Life], window_s: int) -> Expected:
    """What the lives of one host's agent leave in the books."""
    books = Expected()
    kept: list[Append] = []
    for life in lives:
        true = {
            (gpu, start): window
            for gpu, reads in life.reads.items()
            for start, window in observed(course, gpu, reads, life.resume, window_s).items()
        }
        for number, append in life.appends.items():
            _keep(books, f"life {life.number}, append {number}", append, true)
            _keep_health(books, life, append)
        _check_tail(books, life, true)
        _check_resume(books, life, max((b.until for b in kept), default=0), window_s)
        kept += life.appends.values()
        books.rows_dropped += life.rows_dropped
    for key in books.must.keys() | books.may.keys():
        books.unkept.pop(key, None)
    return books


def observed(
    course: Course, gpu: int, reads: list[float], resume: float, window_s: int
) -> dict[int, TrueWindow]:
    """The windows of one GPU in one life by their start."""
    windows: dict[int, TrueWindow] = {}
    for last, at in pairwise(reads):
        if last < resume or at - last > GAP_MIN_S or at <= last:
            continue
        jobs = list(course.jobs(gpu, last, at))
        for begin, end in _pieces(last, at, window_s):
            window = windows.setdefault(int(begin // window_s) * window_s, TrueWindow())
            _integrate(window, jobs, (begin, end), (last, at))
    return windows


def _pieces(last: float, at: float, window_s: int) -> Iterator[tuple[float, float]]:
    """The time between two readings, cut at the ends of windows."""
    begin = last
    while begin < at:
        end = min(at, (begin // window_s + 1) * window_s)
        yield begin, end
        begin = end


def _integrate(
    window: TrueWindow, jobs: list[Job], piece: tuple[float, float], reading: tuple[float, float]
) -> None:
    """Add a piece of the time between two readings.

    A device tells the mean use since the reading before: of a job that came or went, each piece
    gets its part. One that went is no longer listed: it was present up to the reading before.
    """
    (begin, end), (last, at) = piece, reading
    window.until = end
    window.observed += (end - begin) * 1000
    there = [job for job in jobs if job.runs(at)]
    edges = sorted({begin, end, *(job.start for job in there if begin < job.start < end)})
    for low, high in pairwise(edges):
        present = [job for job in there if job.start <= low]
        window.held += (high - low) * 1000 if present else 0.0
        for job in present:
            process = _of(window, job)
            process.present += (high - low) * 1000
            process.shared += (high - low) * 1000 / len(present)
    for job in jobs:
        told = job.sm_fraction * job.seconds(last, at) / (at - last)
        busy = told * (end - begin) * 1000
        window.busy += busy
        if busy:
            _of(window, job).busy += busy


def _of(window: TrueWindow, job: Job) -> TrueProcess:
    return window.processes.setdefault((job.pid, int(job.start)), TrueProcess(job))


def _keep(books: Expected, where: str, append: Append, true: dict[Key, TrueWindow]) -> None:
    for key in append.windows:
        if key not in true:
            books.faults.append(f"{where}: GPU {key[0]} at {key[1]} was kept, but not observed")
        elif key in books.must or key in books.may:
            books.faults.append(f"{where}: GPU {key[0]} at {key[1]} was kept before")
        else:
            (books.must if append.safe else books.may)[key] = true[key]


def _check_resume(books: Expected, life: Life, until: int, window_s: int) -> None:
    """It went on where the lives before it had ended, or with the next whole window."""
    began = min((reads[0] for reads in life.reads.values()), default=life.resume)
    if life.resume > max(until, began + window_s):
        books.faults.append(f"life {life.number} resumed at {life.resume}, {until} was written")


def _keep_health(books: Expected, life: Life, append: Append) -> None:
    if not append.safe or life.drains:
        return
    for start in append.health:
        if start in books.health:
            books.faults.append(f"life {life.number}: the agent's row at {start} was kept before")
        books.health.add(start)


def _check_tail(books: Expected, life: Life, true: dict[Key, TrueWindow]) -> None:
    """What was observed was kept, up to what may be in memory when an agent is killed."""
    kept = {key for append in life.appends.values() for key in append.windows}
    newest: dict[int, int] = {}
    for gpu, start in kept:
        newest[gpu] = max(newest.get(gpu, 0), start)
    tails: Counter[int] = Counter()
    for gpu, start in true.keys() - kept:
        books.unkept[gpu, start] = true[gpu, start]
        tails[gpu] += 1
        if start < newest.get(gpu, 0):
            books.faults.append(f"life {life.number}: GPU {gpu} at {start} was never kept")
    most = 0 if life.ended else TAIL_WINDOWS
    for gpu, count in tails.items():
        if count > most:
            books.faults.append(f"life {life.number}: GPU {gpu}: {count} windows were never kept")
