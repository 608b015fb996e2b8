"""One physical GPU: reads it, and cuts what it says into windows."""

from __future__ import annotations

from gpuledger_agent.clock import Clock
from gpuledger_agent.devices.base import Device, Reading
from gpuledger_agent.meter import GpuMeter, Presence
from gpuledger_agent.processes import ProcessFacts, ProcessTable
from gpuledger_agent.records import GpuUse, ProcessKey, Window

GAP_TICKS = 3
"""Nobody watched the GPU between two ticks that lie further apart than this many."""

GAP_MIN_S = 3.0
"""With short ticks, a pause of the agent up to this long is still bridged by the driver's own
sample buffer, which holds several seconds."""


class GpuWorker:
    """Turns the readings of one physical GPU into windows. Used by one thread at a time.

    `device` may be exchanged for a reopened one between ticks. Time before `written_until` is not
    measured: a window that an earlier run has written would be replaced by its other half.
    """

    def __init__(
        self,
        device: Device,
        processes: ProcessTable,
        clock: Clock,
        *,
        window_s: int,
        tick_s: float,
        written_until: float = 0.0,
    ) -> None:
        self.device = device
        self._table = processes
        self._clock = clock
        self._window_s = window_s
        self._gap_s = max(GAP_TICKS * tick_s, GAP_MIN_S)
        self._written_until = written_until
        self._last: float | None = None
        self._open: Window | None = None
        self._meters: dict[str, GpuMeter] = {}
        self._present: dict[str, frozenset[ProcessKey]] = {}

    def tick(self) -> list[GpuUse]:
        """Read the GPU once; return the windows that ended since the tick before.

        Raises DeviceError; the time up to the next good tick then counts if the gap is short.
        """
        readings = self.device.read()
        now = self._clock.now()
        last = now if self._last is None or self._last < self._written_until else self._last
        self._last = now
        if now - last > self._gap_s:
            last = now
        facts = [[self._table.identify(p.pid, now) for p in r.processes] for r in readings]
        closed = self._enter(self._window(last))
        start = last
        while start < now:
            window = self._window(start)
            closed += self._enter(window)
            end = min(now, window.end)
            for reading, known in zip(readings, facts, strict=True):
                self._book(window, reading, known, start, end, last)
            start = end
        self._present = {
            r.gpu.uuid: frozenset(f.key for f in known)
            for r, known in zip(readings, facts, strict=True)
        }
        return closed + self._enter(self._window(now))

    def _enter(self, window: Window) -> list[GpuUse]:
        """End the open window if it is another one than this."""
        if self._open == window:
            return []
        closed = self.close()
        self._open = window
        return closed

    def close(self) -> list[GpuUse]:
        """End the open window now, wherever it stands."""
        self._open = None
        uses = [use for meter in self._meters.values() if (use := meter.close()) is not None]
        self._meters.clear()
        return uses

    def _window(self, at: float) -> Window:
        return Window(int(at // self._window_s) * self._window_s, self._window_s)

    def _book(
        self,
        window: Window,
        reading: Reading,
        known: list[ProcessFacts],
        start: float,
        end: float,
        last: float,
    ) -> None:
        """Book the piece from `start` to `end` of the interval that began at `last`."""
        uuid = reading.gpu.uuid
        meter = self._meters.get(uuid)
        if meter is None:
            meter = self._meters[uuid] = GpuMeter(window)
        before = self._present.get(uuid, frozenset())
        present = []
        for process, facts in zip(reading.processes, known, strict=True):
            if not process.listed:
                seconds = 0.0
            elif facts.key in before:
                seconds = end - start
            else:
                came = max(facts.started, last) if facts.visible else last
                seconds = max(end - max(start, came), 0.0)
            present.append(Presence(facts.key, process, seconds * 1000))
        meter.add(reading, present, (end - start) * 1000)
