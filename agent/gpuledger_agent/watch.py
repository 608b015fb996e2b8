"""One thread per GPU, so that a GPU that hangs stops nobody but itself."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gpuledger_agent.clock import Clock
from gpuledger_agent.devices.base import Device, DeviceError, DeviceLayer, Fault
from gpuledger_agent.log import Once
from gpuledger_agent.records import GpuUse
from gpuledger_agent.worker import GpuWorker

log = logging.getLogger(__name__)

REOPEN_S = 10.0
"""Pause before a GPU that failed is opened afresh."""

HUNG_S = 5.0
"""A call that takes longer than this, and than three ticks, counts as hung."""

TURNS = 32
"""GPUs are read one after the other, in the first half of a tick. Threads that all read at once
spend as much time handing over the interpreter lock at every call as on the calls."""


@dataclass(slots=True)
class WatchCounters:
    """What one GPU's thread has done since it was last asked."""

    ticks: int = 0
    missed: int = 0
    tick_ms_max: float = 0.0


@dataclass(slots=True)
class _State:
    call_began: float | None = None
    failed: bool = False
    counters: WatchCounters = field(default_factory=WatchCounters)


class GpuWatch:
    """Ticks one GPU in a thread of its own and hands over the windows it closes.

    `driver_changed` is called when the driver must be loaded afresh; the thread then ends.
    """

    def __init__(
        self,
        layer: DeviceLayer,
        index: int,
        make_worker: Callable[[Device], GpuWorker],
        deliver: Callable[[list[GpuUse]], None],
        driver_changed: Callable[[str], None],
        clock: Clock,
        tick_s: float,
    ) -> None:
        self.index = index
        self._layer = layer
        self._make_worker = make_worker
        self._worker: GpuWorker | None = None
        self._deliver = deliver
        self._driver_changed = driver_changed
        self._clock = clock
        self._tick_s = tick_s
        self._turn_s = index % TURNS * tick_s / (2 * TURNS)
        self._stop = threading.Event()
        self._state = _State()
        self._once = Once(log)
        self._thread = threading.Thread(target=self._run, name=f"gpu-{index}", daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end after its present call."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; False if the driver still holds it."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def hung(self) -> bool:
        """Whether the driver has held the present call for too long."""
        began = self._state.call_began
        return began is not None and time.monotonic() - began > max(HUNG_S, 3 * self._tick_s)

    @property
    def failed(self) -> bool:
        """Whether this GPU gives no readings at present."""
        return self._state.failed or self.hung

    def take_counters(self) -> WatchCounters:
        """Counters since the last call of this."""
        taken, self._state.counters = self._state.counters, WatchCounters()
        return taken

    def report_hang(self) -> None:
        """Log the beginning and the end of a hang, once each."""
        if self.hung:
            self._once.warning("hung", "event=gpu_hung gpu=%d other GPUs go on", self.index)
        else:
            self._once.over("hung", "event=gpu_answers_again gpu=%d", self.index)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._guard(self._tick)
                pause = self._until_next_tick()
            except DeviceError as error:
                if error.fault is Fault.DRIVER_CHANGED:
                    self._driver_changed(str(error))
                    break
                self._fail(str(error), error.fault.value)
                pause = REOPEN_S
            except Exception as error:  # a daemon reports what it did not foresee, and goes on
                log.exception("event=gpu_thread_error gpu=%d", self.index)
                self._fail(repr(error), "bug")
                pause = REOPEN_S
            self._stop.wait(pause)
        if self._worker is not None:
            self._deliver(self._worker.close())

    def _guard(self, call: Callable[[], None]) -> None:
        self._state.call_began = time.monotonic()
        try:
            call()
        finally:
            took_ms = (time.monotonic() - self._state.call_began) * 1000
            self._state.call_began = None
            counters = self._state.counters
            counters.tick_ms_max = max(counters.tick_ms_max, took_ms)
            counters.missed += int(took_ms / 1000 / self._tick_s)

    def _tick(self) -> None:
        worker = self._worker
        if worker is None or self._state.failed:
            device = self._layer.device(self.index)
            if worker is None:
                worker = self._worker = self._make_worker(device)
            worker.device = device
        closed = worker.tick()
        self._state.counters.ticks += 1
        if self._state.failed:
            self._state.failed = False
            self._once.over("failed", "event=gpu_back gpu=%d", self.index)
        if closed:
            self._deliver(closed)

    def _fail(self, reason: str, fault: str) -> None:
        self._state.failed = True
        self._state.counters.missed += int(REOPEN_S / self._tick_s)
        self._once.warning(
            "failed",
            "event=gpu_failed gpu=%d fault=%s reason=%r retry_s=%d",
            *(self.index, fault, reason, REOPEN_S),
        )

    def _until_next_tick(self) -> float:
        """Seconds to the next multiple of the tick, and this GPU's turn after it."""
        now = self._clock.now() - self._turn_s
        return max((math.floor(now / self._tick_s) + 1) * self._tick_s - now, 0.001)
