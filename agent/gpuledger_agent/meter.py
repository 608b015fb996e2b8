"""From readings to one window of one GPU, divided among its processes without remainder.

The arithmetic is that of docs/books.md: what is busy goes to those who ran, the rest of the held
time equally to those present, and integers add up exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from gpuledger_agent.devices.base import Context, GpuInfo, ProcessReading, Reading, SmSource
from gpuledger_agent.records import GpuUse, ProcessKey, ProcessUse, Window

UNEXPLAINED = ProcessKey(0, 0)

SKEW = 0.1
"""The driver samples the device and its processes at different moments. Busy time of the device
beyond that of all processes is put down to this skew up to this part of the observed time; more
than that was somebody unlisted, and is booked as such."""


@dataclass(frozen=True, slots=True)
class Presence:
    """A process in one reading, and how long it was there since the reading before."""

    key: ProcessKey
    reading: ProcessReading
    ms: float


@dataclass(slots=True)
class _Mean:
    """A mean weighted by time, and a maximum; None until something was offered."""

    total: float = 0.0
    ms: float = 0.0
    max: int | None = None

    def add(self, value: float | None, ms: float) -> None:
        if value is None:
            return
        self.total += value * ms
        self.ms += ms
        if self.max is None or value > self.max:
            self.max = round(value)

    @property
    def mean(self) -> int | None:
        if self.max is None:
            return None
        return round(self.total / self.ms) if self.ms else self.max


@dataclass(slots=True)
class _Process:
    context: Context
    present_ms: float = 0.0
    held_ms: float = 0.0
    weight_ms: float = 0.0
    sm_pct_max: int = 0
    sm_source: SmSource = SmSource.PROCESS
    mem: _Mean = field(default_factory=_Mean)


class GpuMeter:
    """Adds up what happened on one GPU (or MIG instance) in one window."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self._gpu: GpuInfo | None = None
        self._observed_ms = 0.0
        self._held_ms = 0.0
        self._busy_ms = 0.0
        self._uncovered_ms = 0.0
        self._last_fraction = 0.0
        self._sm_pct_max = 0
        self._sm_source = SmSource.DEVICE
        self._measured = False
        self._processes: dict[ProcessKey, _Process] = {}
        self._mem = _Mean()
        self._power = _Mean()
        self._clock = _Mean()
        self._tensor = _Mean()
        self._dram = _Mean()
        self._temperature = _Mean()
        self._ecc: int | None = None
        self._xid = 0

    def add(self, reading: Reading, present: Sequence[Presence], ms: float) -> None:
        """Book `ms` of time that ended with `reading`, all of it inside the window."""
        self._gpu = reading.gpu
        self._observed_ms += ms
        busy_ms = self._add_device(reading, ms)
        self._add_gauges(reading, ms)
        self._add_processes(reading, present, busy_ms, ms)

    def _add_device(self, reading: Reading, ms: float) -> float:
        """Book the device's busy time; return what this piece brought, milliseconds."""
        self._sm_source = reading.sm_source
        if reading.sm_pct_max is not None:
            self._sm_pct_max = max(self._sm_pct_max, min(reading.sm_pct_max, 100))
        if reading.sm_fraction is None:
            self._uncovered_ms += ms
            return 0.0
        self._last_fraction = min(max(reading.sm_fraction, 0.0), 1.0)
        busy_ms = self._last_fraction * (ms + self._uncovered_ms)
        self._uncovered_ms = 0.0
        self._busy_ms += busy_ms
        return busy_ms

    def _add_gauges(self, reading: Reading, ms: float) -> None:
        self._mem.add(reading.mem_used_mib, ms)
        self._power.add(reading.power_w, ms)
        self._clock.add(reading.sm_clock_mhz, ms)
        self._tensor.add(reading.tensor_pct, ms)
        self._dram.add(reading.dram_pct, ms)
        self._temperature.add(reading.temperature_c, ms)
        if reading.ecc_uncorrected is not None:
            self._ecc = reading.ecc_uncorrected
        if reading.xid:
            self._xid = reading.xid

    def _add_processes(
        self, reading: Reading, present: Sequence[Presence], busy_ms: float, ms: float
    ) -> None:
        if not present:
            return
        parts_ms = _moment_by_moment([p.ms for p in present])
        union_ms = max(p.ms for p in present)
        self._held_ms += union_ms
        measured = any(p.reading.sm_fraction is not None for p in present)
        self._measured |= measured
        source = _shared_source(reading.sm_source, len(present), measured=measured)
        for p, part_ms in zip(present, parts_ms, strict=True):
            use = self._processes.get(p.key)
            if use is None:
                use = self._processes[p.key] = _Process(p.reading.context)
            use.present_ms += p.ms
            use.held_ms += part_ms
            use.sm_source = max(use.sm_source, source, key=_CERTAINTY.index)
            if p.reading.sm_pct_max is not None:
                use.sm_pct_max = max(use.sm_pct_max, min(p.reading.sm_pct_max, 100))
            if measured:
                use.weight_ms += (p.reading.sm_fraction or 0.0) * ms
            else:
                part = part_ms / union_ms if union_ms else 1.0 / len(present)
                use.weight_ms += busy_ms * part
            if p.reading.listed:
                use.mem.add(p.reading.mem_mib, p.ms)

    def close(self) -> GpuUse | None:
        """The window's row, or None if the GPU was never observed in it."""
        if self._gpu is None:
            return None
        self._busy_ms += self._last_fraction * self._uncovered_ms
        if self._sm_source is SmSource.UNKNOWN and self._measured:
            self._sm_source = SmSource.PROCESS
            self._busy_ms = sum(p.weight_ms for p in self._processes.values())
        share = self._gpu.share
        busy = min(self._busy_ms, self._observed_ms)
        held = min(max(self._held_ms, busy), self._observed_ms)
        held_ms = round(held * share)
        busy_ms = min(round(busy * share), held_ms)
        return GpuUse(
            window=self.window,
            gpu=self._gpu,
            observed_ms=round(self._observed_ms * share),
            held_ms=held_ms,
            sm_busy_ms=busy_ms,
            sm_pct_max=self._sm_pct_max,
            sm_source=self._sm_source,
            mem_mib_mean=self._mem.mean,
            mem_mib_max=self._mem.max,
            power_w_mean=self._power.mean,
            power_w_max=self._power.max,
            temperature_c_max=self._temperature.max,
            sm_clock_mhz_mean=self._clock.mean,
            tensor_pct_mean=self._tensor.mean,
            dram_pct_mean=self._dram.mean,
            ecc_uncorrected=self._ecc,
            xid=self._xid,
            processes=self._divide(busy_ms, held_ms - busy_ms),
        )

    def _divide(self, busy_ms: int, rest_ms: int) -> tuple[ProcessUse, ...]:
        """Give the busy and the other held time of the GPU to its processes."""
        processes = dict(self._processes)
        weights = {key: p.weight_ms for key, p in processes.items()}
        unexplained = self._unexplained_ms(sum(weights.values()))
        if unexplained and busy_ms:
            processes[UNEXPLAINED] = _Process(Context.COMPUTE, sm_source=SmSource.DEVICE)
            weights[UNEXPLAINED] = unexplained
        elif not any(weights.values()):
            weights = {key: p.present_ms for key, p in processes.items()}
        busy_parts = _split(busy_ms, weights.values())
        rest_parts = _split(rest_ms, (p.held_ms for p in processes.values()))
        return tuple(
            ProcessUse(
                key=key,
                context=p.context,
                present_ms=round(p.present_ms),
                held_ms=busy + rest,
                sm_busy_ms=busy,
                sm_pct_max=p.sm_pct_max if p.sm_source is SmSource.PROCESS else self._sm_pct_max,
                sm_source=p.sm_source,
                mem_mib_mean=p.mem.mean,
                mem_mib_max=p.mem.max,
            )
            for (key, p), busy, rest in zip(processes.items(), busy_parts, rest_parts, strict=True)
            if round(p.present_ms) or busy or rest
        )

    def _unexplained_ms(self, explained_ms: float) -> float:
        """Busy time of the device for which no listed process can stand."""
        if not any(p.present_ms or p.weight_ms for p in self._processes.values()):
            return self._busy_ms
        if not self._measured or (len(self._processes) == 1 and not explained_ms):
            return 0.0
        excess = self._busy_ms - explained_ms
        if explained_ms and excess <= SKEW * self._observed_ms:
            return 0.0
        return max(excess, 0.0)


_CERTAINTY = (
    SmSource.PROCESS,
    SmSource.GPM,
    SmSource.DEVICE,
    SmSource.APPORTIONED,
    SmSource.UNKNOWN,
)


def _shared_source(device: SmSource, holders: int, *, measured: bool) -> SmSource:
    """What a process row can claim, given what the device offers."""
    if measured:
        return SmSource.PROCESS
    if device is SmSource.UNKNOWN or holders == 1:
        return device
    return SmSource.APPORTIONED


def _moment_by_moment(present_ms: Sequence[float]) -> list[float]:
    """Parts of the time that a GPU was held, at each moment equal among those who were there.

    Those present at the end of a piece came one after the other, and none has left.
    """
    parts = [0.0] * len(present_ms)
    part = since = 0.0
    for earlier, index in enumerate(sorted(range(len(parts)), key=present_ms.__getitem__)):
        part += (present_ms[index] - since) / (len(parts) - earlier)
        since = present_ms[index]
        parts[index] = part
    return parts


def _split(total: int, weights: Iterable[float]) -> list[int]:
    """Divide `total` in proportion to `weights` into integers that add up to it.

    All zero weights give zero parts, whatever the total.
    """
    sums = list(accumulate(weights))
    if not sums or sums[-1] <= 0:
        return [0] * len(sums)
    edges = [round(total * s / sums[-1]) for s in sums]
    return [high - low for low, high in zip([0, *edges], edges, strict=False)]
