"""Keeps the driver open, and one watch per GPU, through absence, failure and upgrade."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from gpuledger_agent.clock import Clock
from gpuledger_agent.devices.base import Device, DeviceError, DeviceLayer, Fault
from gpuledger_agent.log import Once
from gpuledger_agent.records import GpuUse
from gpuledger_agent.watch import GpuWatch, WatchCounters
from gpuledger_agent.worker import GpuWorker

log = logging.getLogger(__name__)

RETRY_S = 30.0
"""Pause before a driver that did not open is tried again."""

ROUND_S = 2.0
"""How often hung GPUs are looked for, and how long each is waited for at the end."""

REMEDIES = {
    Fault.NO_DRIVER: "install the NVIDIA driver, or wait for it to load",
    Fault.DRIVER_CHANGED: "library and kernel module differ: finish the upgrade, or reboot",
    Fault.PERMISSION: "let the agent's user open /dev/nvidiactl and /dev/nvidia*",
    Fault.LOST: "reset the GPU or reboot; see the kernel log for Xid",
    Fault.FAILED: "see nvidia-smi and the kernel log",
}
"""What an operator can do about each fault."""


@dataclass(frozen=True, slots=True)
class DriverState:
    """What the driver offers at present. `version` is "" while it does not answer."""

    version: str = ""
    gpus: int = 0
    gpus_failed: int = 0


class Driver:
    """Opens a device layer and watches its GPUs. `run` blocks; call it from a thread of its own.

    `deliver` gets the windows that each GPU's thread closes, in that thread.
    """

    def __init__(
        self,
        layer: DeviceLayer,
        make_worker: Callable[[Device], GpuWorker],
        deliver: Callable[[list[GpuUse]], None],
        clock: Clock,
        tick_s: float,
    ) -> None:
        self._layer = layer
        self._make_worker = make_worker
        self._deliver = deliver
        self._clock = clock
        self._tick_s = tick_s
        self._version = ""
        self._watches: list[GpuWatch] = []
        self._wake = threading.Event()
        self._stopped = False
        self._changed = ""
        self._once = Once(log)

    def run(self) -> None:
        """Watch the GPUs until `stop`; wait for a driver where there is none."""
        while not self._stopped:
            try:
                self._open()
            except DeviceError as error:
                self._once.warning(
                    ("driver", error.fault),
                    "event=driver_unavailable fault=%s reason=%r remedy=%r retry_s=%d",
                    *(error.fault.value, str(error), REMEDIES[error.fault], RETRY_S),
                )
                self._layer.close()
                self._pause(RETRY_S)
                continue
            for fault in Fault:
                self._once.over(("driver", fault), "event=driver_available after=%s", fault.value)
            self._watch()
            self._pause(ROUND_S)

    def stop(self) -> None:
        """End `run` once the GPUs have delivered their open windows."""
        self._stopped = True
        self._wake.set()

    def state(self) -> DriverState:
        """What the driver offers at present."""
        watches = self._watches
        return DriverState(self._version, len(watches), sum(w.failed for w in watches))

    def take_counters(self) -> WatchCounters:
        """What all GPUs' threads have done since the last call of this."""
        total = WatchCounters()
        for watch in self._watches:
            one = watch.take_counters()
            total.ticks += one.ticks
            total.missed += one.missed
            total.tick_ms_max = max(total.tick_ms_max, one.tick_ms_max)
        return total

    def _open(self) -> None:
        version = self._layer.open()
        count = self._layer.count()
        self._changed = ""
        self._watches = [
            GpuWatch(
                self._layer,
                index,
                self._make_worker,
                self._deliver,
                self._driver_changed,
                self._clock,
                self._tick_s,
            )
            for index in range(count)
        ]
        self._version = version
        log.info("event=driver_open version=%s gpus=%d", version, count)

    def _watch(self) -> None:
        for watch in self._watches:
            watch.start()
        while not (self._stopped or self._changed):
            self._wake.wait(ROUND_S)
            for watch in self._watches:
                watch.report_hang()
        if self._changed:
            log.warning("event=driver_changed reason=%r it is loaded afresh", self._changed)
        ended = self._end_watches()
        self._version = ""
        if ended:
            self._layer.close()

    def _pause(self, seconds: float) -> None:
        self._wake.clear()
        if not self._stopped:
            self._wake.wait(seconds)

    def _end_watches(self) -> bool:
        """Wait for the GPUs' threads: the library must not be unloaded under a call.

        False if the agent stops while the driver still holds one of them; it is left behind.
        """
        for watch in self._watches:
            watch.stop()
        waiting = self._watches
        while waiting := [w for w in waiting if not w.join(ROUND_S)]:
            if self._stopped:
                log.warning("event=gpu_left_hung gpus=%s", [w.index for w in waiting])
                return False
            for watch in waiting:
                watch.report_hang()
        self._watches = []
        return True

    def _driver_changed(self, reason: str) -> None:
        self._changed = reason or "driver changed"
        self._wake.set()
