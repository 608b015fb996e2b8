"""NVIDIA GPUs through NVML (nvidia-ml-py). docs/nvml.md says which call gives what."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import pynvml as nv

from gpuledger_agent.devices import gpm, nvml_calls
from gpuledger_agent.devices import nvml_mig as mig
from gpuledger_agent.devices.base import (
    Context,
    Device,
    DeviceError,
    Fault,
    GpuInfo,
    ProcessReading,
    Reading,
    SmSource,
)
from gpuledger_agent.devices.gpm import Gpm
from gpuledger_agent.devices.nvml_calls import LISTS, DeviceSamples, ProcessList, ProcessSamples
from gpuledger_agent.devices.nvml_mig import Instance
from gpuledger_agent.devices.nvml_samples import DeviceIntegral, ProcessIntegral, Use

T = TypeVar("T")

MIB = 1 << 20

TOPOLOGY_S = 10.0
"""How often MIG mode and instances are looked at; they change by hand, seldom."""

_CONTEXTS = (Context.COMPUTE, Context.GRAPHICS, Context.MPS)

_LOST = {nv.NVML_ERROR_GPU_IS_LOST, nv.NVML_ERROR_RESET_REQUIRED}
_CHANGED = {
    nv.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    nv.NVML_ERROR_UNINITIALIZED,
    nv.NVML_ERROR_DRIVER_NOT_LOADED,
}
_ABSENT = {nv.NVML_ERROR_LIBRARY_NOT_FOUND, nv.NVML_ERROR_DRIVER_NOT_LOADED}
_FORBIDDEN = {nv.NVML_ERROR_NO_PERMISSION, nv.NVML_ERROR_OPERATING_SYSTEM}
_NEVER = {
    nv.NVML_ERROR_NOT_SUPPORTED,
    nv.NVML_ERROR_FUNCTION_NOT_FOUND,
    nv.NVML_ERROR_NO_PERMISSION,
    nv.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    nv.NVML_ERROR_INVALID_ARGUMENT,
}
"""Answers that will be the same at the next tick: not asked again until the GPU is reopened."""


class NvmlLayer:
    """All GPUs that NVML shows. Implements `DeviceLayer`."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._now_us: Callable[[], int] = lambda: int(wall() * 1e6)
        self._open = False

    def open(self) -> str:
        """Load the library and connect to the driver; return its version. Raises DeviceError."""
        try:
            if not self._open:
                nv.nvmlInit()
                self._open = True
            return str(nv.nvmlSystemGetDriverVersion())
        except nv.NVMLError as error:
            raise _opening_error(error) from error

    def count(self) -> int:
        """How many physical GPUs the driver knows. Raises DeviceError."""
        return _checked(lambda: int(nv.nvmlDeviceGetCount()))

    def device(self, index: int) -> Device:
        """Open GPU `index`. Raises DeviceError."""
        return _checked(lambda: NvmlDevice(index, self._now_us))

    def close(self) -> None:
        """Disconnect and unload the library. Never raises."""
        if self._open:
            with suppress(nv.NVMLError):
                nv.nvmlShutdown()
        self._open = False
        nvml_calls.unload()


class NvmlDevice:
    """One physical GPU. Implements `Device`. Made by NvmlLayer; may raise NVMLError then."""

    def __init__(self, index: int, now_us: Callable[[], int]) -> None:
        self._index = index
        self._now_us = now_us
        self._handle = nv.nvmlDeviceGetHandleByIndex(index)
        self._never: set[str] = set()
        memory = self._memory(self._handle)
        self._info = GpuInfo(
            uuid=str(nv.nvmlDeviceGetUUID(self._handle)),
            index=index,
            model=str(nv.nvmlDeviceGetName(self._handle)),
            memory_mib=memory.total // MIB if memory else None,
        )
        self._lists = self._process_lists()
        self._samples = self._offer("samples", lambda: DeviceSamples(self._handle))
        self._device_use = DeviceIntegral(now_us)
        self._process_samples = self._offer("process samples", ProcessSamples)
        self._process_use = ProcessIntegral(now_us)
        self._listed: dict[int, Context] = {}
        self._events = self._offer("events", self._register_events)
        self._has_gpm = bool(self._offer("gpm", lambda: gpm.supported(self._handle)))
        self._gpm = self._offer("gpm", lambda: Gpm(self._handle)) if self._has_gpm else None
        self._mig = False
        self._instances: list[Instance] = []
        self._looked_us = 0

    @property
    def index(self) -> int:
        """Ordinal on this host, as NVML counts."""
        return self._index

    def read(self) -> tuple[Reading, ...]:
        """One reading, or under MIG one per instance and one for the rest. Raises DeviceError."""
        return _checked(self._read)

    def _read(self) -> tuple[Reading, ...]:
        # Offered by every GPU, so that one that is lost, or another driver, shows here.
        nv.nvmlDeviceGetIndex(self._handle)
        self._look_at_topology()
        if self._mig:
            return self._read_mig()
        use = self._use()
        activity = (self._gpm and self._offer("gpm", self._gpm.read)) or gpm.Activity()
        reading = Reading(
            gpu=self._info,
            processes=self._processes(),
            sm_fraction=use.fraction if use else None,
            sm_pct_max=use.pct_max if use else None,
            sm_source=SmSource.DEVICE if use else SmSource.UNKNOWN,
            mem_used_mib=self._used_mib(self._handle),
            tensor_pct=activity.tensor_pct,
            dram_pct=activity.dram_pct,
        )
        return (self._with_gauges(reading),)

    def _read_mig(self) -> tuple[Reading, ...]:
        """Instances, and the GPU itself for the share that they leave over, if only 0."""
        left = max(1.0 - sum(instance.info.share for instance in self._instances), 0.0)
        whole = Reading(
            gpu=replace(self._info, share=left),
            processes=(),
            sm_fraction=0.0,
            sm_pct_max=0,
            sm_source=SmSource.DEVICE,
        )
        return (*map(self._read_instance, self._instances), self._with_gauges(whole))

    def _read_instance(self, instance: Instance) -> Reading:
        measured = instance.gpm and self._offer("gpm", instance.gpm.read)
        activity = measured or gpm.Activity()
        sm = activity.sm_pct
        return Reading(
            gpu=instance.info,
            processes=tuple(
                ProcessReading(pid, context, _mib(memory), None, None)
                for pid, (context, memory) in self._listing(instance.handle).items()
            ),
            sm_fraction=None if sm is None else sm / 100,
            sm_pct_max=None if sm is None else round(sm),
            sm_source=SmSource.GPM if measured else SmSource.UNKNOWN,
            mem_used_mib=self._used_mib(instance.handle),
            tensor_pct=activity.tensor_pct,
            dram_pct=activity.dram_pct,
        )

    def _look_at_topology(self) -> None:
        now_us = self._now_us()
        if abs(now_us - self._looked_us) < TOPOLOGY_S * 1e6:
            return
        self._looked_us = now_us
        self._mig = mig.enabled(self._handle)
        for instance in self._instances:
            if instance.gpm:
                instance.gpm.free()
        self._instances = (
            mig.find_instances(self._handle, self._info, with_gpm=self._has_gpm)
            if self._mig
            else []
        )

    def _use(self) -> Use | None:
        """SM use of the device since the read before; None if the GPU does not offer it."""
        if self._samples is not None:
            samples = self._samples
            found = self._offer(
                "samples",
                lambda: list(samples.read(self._handle, self._device_use.since_us())),
            )
            if found is not None:
                return self._device_use.add(found)
        rates = self._offer("rates", lambda: nv.nvmlDeviceGetUtilizationRates(self._handle))
        if rates is None or rates.gpu > 100:
            return None
        return Use(rates.gpu / 100, rates.gpu)

    def _processes(self) -> tuple[ProcessReading, ...]:
        listed = self._listing(self._handle)
        contexts = {pid: context for pid, (context, _) in listed.items()}
        uses = self._process_uses(contexts.keys() | self._listed.keys())
        readings = []
        for pid, (context, memory) in listed.items():
            use = None if uses is None else uses.get(pid, _IDLE)
            readings.append(_reading(pid, context, _mib(memory), use))
        for pid, context in self._listed.items():
            if uses and pid in uses and pid not in listed:
                readings.append(replace(_reading(pid, context, None, uses[pid]), listed=False))
        self._listed = contexts
        return tuple(readings)

    def _process_uses(self, pids: set[int]) -> dict[int, Use] | None:
        """SM use by pid; None if the GPU does not offer it."""
        samples = self._process_samples
        if samples is None:
            return None
        found = self._offer(
            "process samples",
            lambda: list(samples.read(self._handle, self._process_use.since_us())),
        )
        return None if found is None else self._process_use.add(found, pids)

    def _listing(self, handle: Any) -> dict[int, tuple[Context, int | None]]:
        """Processes by pid. One that is in several lists is one process, of the first."""
        merged: dict[int, tuple[Context, int | None]] = {}
        for context, one in self._lists:
            try:
                entries = list(one.read(handle))
            except (nv.NVMLError_NotSupported, nv.NVMLError_FunctionNotFound):
                continue
            for pid, memory in entries:
                if pid and (pid not in merged or merged[pid][1] is None):
                    merged[pid] = (merged.get(pid, (context, None))[0], memory)
        return merged

    def _process_lists(self) -> list[tuple[Context, ProcessList]]:
        lists = []
        for context, name in zip(_CONTEXTS, LISTS, strict=True):
            with suppress(nv.NVMLError_FunctionNotFound):
                lists.append((context, ProcessList(name)))
        return lists

    def _with_gauges(self, reading: Reading) -> Reading:
        handle, offer = self._handle, self._offer
        power = offer("power", lambda: nv.nvmlDeviceGetPowerUsage(handle))
        return replace(
            reading,
            power_w=None if power is None else round(power / 1000),
            temperature_c=offer(
                "temperature",
                lambda: nv.nvmlDeviceGetTemperature(handle, nv.NVML_TEMPERATURE_GPU),
            ),
            sm_clock_mhz=offer(
                "clock", lambda: nv.nvmlDeviceGetClockInfo(handle, nv.NVML_CLOCK_SM)
            ),
            ecc_uncorrected=offer(
                "ecc",
                lambda: nv.nvmlDeviceGetTotalEccErrors(
                    handle, nv.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nv.NVML_VOLATILE_ECC
                ),
            ),
            xid=self._latest_xid(),
        )

    def _register_events(self) -> Any:
        events = nv.nvmlEventSetCreate()
        nv.nvmlDeviceRegisterEvents(self._handle, nv.nvmlEventTypeXidCriticalError, events)
        return events

    def _latest_xid(self) -> int:
        """The latest Xid since the read before, 0 if none."""
        xid = 0
        while self._events is not None:
            try:
                event = nv.nvmlEventSetWait(self._events, 0)
            except nv.NVMLError_Timeout:
                return xid
            except nv.NVMLError as error:
                if error.value in _LOST | _CHANGED:
                    raise
                self._events = None
            else:
                xid = int(event.eventData)
        return xid

    def _used_mib(self, handle: Any) -> int | None:
        memory = self._memory(handle)
        return int(memory.used) // MIB if memory else None

    def _memory(self, handle: Any) -> Any:
        return self._offer("memory", lambda: nv.nvmlDeviceGetMemoryInfo(handle))

    def _offer(self, name: str, call: Callable[[], T]) -> T | None:
        """What the call gives, None if this GPU has none of it, now or ever.

        Only a GPU that is lost, or another driver, is an error here.
        """
        if name in self._never:
            return None
        try:
            return call()
        except nv.NVMLError as error:
            if error.value in _LOST | _CHANGED:
                raise
            if error.value in _NEVER:
                self._never.add(name)
            return None


_IDLE = Use(0.0, 0)


def _reading(pid: int, context: Context, mem_mib: int | None, use: Use | None) -> ProcessReading:
    if use is None:
        return ProcessReading(pid, context, mem_mib, None, None)
    return ProcessReading(pid, context, mem_mib, use.fraction, use.pct_max)


def _mib(memory: int | None) -> int | None:
    return None if memory is None else memory // MIB


def _opening_error(error: nv.NVMLError) -> DeviceError:
    if error.value in _ABSENT:
        return DeviceError(Fault.NO_DRIVER, f"NVML: {error}")
    return _device_error(error)


def _device_error(error: nv.NVMLError) -> DeviceError:
    faults = (
        (_LOST, Fault.LOST),
        (_CHANGED, Fault.DRIVER_CHANGED),
        (_FORBIDDEN, Fault.PERMISSION),
    )
    fault = next((fault for codes, fault in faults if error.value in codes), Fault.FAILED)
    return DeviceError(fault, f"NVML: {error}")


def _checked(call: Callable[[], T]) -> T:
    """What the call gives. Raises DeviceError."""
    try:
        return call()
    except nv.NVMLError as error:
        raise _device_error(error) from error
