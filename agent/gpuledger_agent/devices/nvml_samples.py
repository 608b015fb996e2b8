"""SM use out of the driver's sample buffers: integrated over its timestamps, garbage left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

LONGEST_S = 2.0
"""A sample stands for the time since the one before it, but never for longer than this: a gap is a
pause of the driver or a step of the clock."""

AHEAD_S = 1.0
"""A sample from further ahead than this is garbage."""


@dataclass(frozen=True, slots=True)
class Use:
    """Mean SM use (0 to 1; None: nothing new) and highest sample (percent)."""

    fraction: float | None
    pct_max: int | None


class DeviceIntegral:
    """SM use of a device since the read before."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._seen_us = 0

    def since_us(self) -> int:
        """From when on to ask for samples. Asked from the future, a driver would say nothing."""
        self._seen_us = min(self._seen_us, self._now_us())
        return self._seen_us

    def add(self, samples: Iterable[tuple[int, int]]) -> Use:
        """Integrate samples (microseconds since the epoch, percent) that are new and sane."""
        limit = self._now_us() + int(AHEAD_S * 1e6)
        good = sorted(
            (us, pct) for us, pct in samples if self._seen_us < us <= limit and pct <= 100
        )
        if not good:
            return Use(None, None)
        if not self._seen_us:
            # What lies in the buffer at first is from before anyone watched.
            self._seen_us = good[-1][0]
            return Use(good[-1][1] / 100, good[-1][1])
        covered = busy = 0.0
        for us, pct in good:
            seconds = min((us - self._seen_us) / 1e6, LONGEST_S)
            self._seen_us = us
            covered += seconds
            busy += seconds * pct / 100
        return Use(busy / covered if covered else None, max(pct for _, pct in good))


class ProcessIntegral:
    """SM use of every process of a device since the read before.

    The driver has about one sample a process, a mean since the time that it was asked from; that is
    the newest sample of any process at the read before.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        # Asked from 0 a driver also tells of processes long gone.
        self._seen_us = self._read_us = now_us()

    def since_us(self) -> int:
        """From when on to ask for samples."""
        self._seen_us = min(self._seen_us, self._now_us())
        return self._seen_us

    def add(self, samples: Iterable[tuple[int, int, int]], pids: set[int]) -> dict[int, Use]:
        """Mean use over the time since the read before, by pid; only of these pids."""
        now = self._now_us()
        limit = now + int(AHEAD_S * 1e6)
        elapsed = max((now - self._read_us) / 1e6, 1e-3)
        good = sorted(
            (us, pid, pct)
            for pid, us, pct in samples
            if self._seen_us < us <= limit and pct <= 100 and pid in pids
        )
        covered_until: dict[int, int] = {}
        busy: dict[int, float] = {}
        highest: dict[int, int] = {}
        for us, pid, pct in good:
            seconds = min((us - covered_until.get(pid, self._seen_us)) / 1e6, LONGEST_S)
            covered_until[pid] = us
            busy[pid] = busy.get(pid, 0.0) + seconds * pct / 100
            highest[pid] = max(highest.get(pid, 0), pct)
        if good:
            self._seen_us = good[-1][0]
        self._read_us = now
        return {pid: Use(busy[pid] / elapsed, highest[pid]) for pid in busy}
