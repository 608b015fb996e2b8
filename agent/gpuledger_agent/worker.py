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
    """Turns the readings of one physical GPU into windows. Used by one thread at a time."""

    def __init__(
        self,
        device: Device,
        processes: ProcessTable,
        clock: Clock,
        *,
        window_s: int,
        tick_s: float,
    ) -> None:
        self._device = device
        self._table = processes
        self._clock = clock
        self._window_s = window_s
        self._gap_s = max(GAP_TICKS * tick_s, GAP_MIN_S)
        self._last: float | None = None
        self._meters: dict[str, GpuMeter] = {}
        self._present: dict[str, frozenset[ProcessKey]] = {}

    def tick(self) -> list[GpuUse]:
        """Read the GPU once; return the windows that ended since the tick before.

        Raises DeviceError; the time up to the next good tick then counts if the gap is short.
        """
        readings = self._device.read()
        now = self._clock.now()
        last = self._last
        if last is not None and now <= last:
            return []
        if last is None or now - last > self._gap_s:
            closed = self.close()
            last = now
        else:
            closed = []
        self._last = now
        facts = [[self._table.identify(p.pid, now) for p in r.processes] for r in readings]
        start = last
        while start < now:
            window = self._window(start)
            end = min(now, window.end)
            for reading, known in zip(readings, facts, strict=True):
                self._book(window, reading, known, start, end, last)
            if end == window.end:
                closed += self.close()
            start = end
        self._present = {
            r.gpu.uuid: frozenset(f.key for f in known)
            for r, known in zip(readings, facts, strict=True)
        }
        return closed

    def close(self) -> list[GpuUse]:
        """End the open window now, wherever it stands."""
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
