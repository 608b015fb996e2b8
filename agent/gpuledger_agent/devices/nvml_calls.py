"""NVML calls that nvidia-ml-py makes too slowly or wrongly, by the same C structures.

Its wrappers ask for the size first, take any answer but "insufficient size" for an error (success
included), and copy every entry into an object, whose fields they then look at one by one for
bytes to decode. Here a buffer is kept per device and handed over at once; it grows when the driver
says so.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from ctypes import Structure, byref, c_uint, c_ulonglong
from typing import Any

import pynvml as nv

GROWTH = 2
MAX_ENTRIES = 65_536
"""More processes or samples than this no driver has; a count beyond it is garbage."""

_UNKNOWN_MEMORY = nv.NVML_VALUE_NOT_AVAILABLE_ulonglong.value

LISTS = (
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetGraphicsRunningProcesses",
    "nvmlDeviceGetMPSComputeRunningProcesses",
)

VERSIONS = ("_v3", "_v2")
"""Of the lists above; the structure is the same. _v3 came with driver 510."""


def _plain(structure: type[Structure]) -> Any:
    """The same C structure without nvidia-ml-py's hook on every access to a field."""
    return type(structure.__name__, (Structure,), {"_fields_": structure._fields_})


_Process = _plain(nv.c_nvmlProcessInfo_v2_t)
_OldProcessSample = _plain(nv.c_nvmlProcessUtilizationSample_t)
_ProcessSample = _plain(nv.c_nvmlProcessUtilizationInfo_v1_t)
_DeviceSample = _plain(nv.c_nvmlSample_t)
_PROCESS_SAMPLES = ctypes.POINTER(nv.c_nvmlProcessUtilizationInfo_v1_t)


def function(names: Sequence[str]) -> Any:
    """The first of these functions that the loaded library has. Raises NVMLError."""
    for name in names[:-1]:
        try:
            return nv._nvmlGetFunctionPointer(name)  # noqa: SLF001  # its only way to one
        except nv.NVMLError_FunctionNotFound:
            continue
    return nv._nvmlGetFunctionPointer(names[-1])  # noqa: SLF001


def check(code: int) -> None:
    """Raise NVMLError unless the code is success."""
    if code:
        raise nv.NVMLError(code)


class ProcessList:
    """One of LISTS, of one device."""

    def __init__(self, name: str) -> None:
        self._call = function([name + version for version in VERSIONS])
        self._room = 32
        self._array = (_Process * self._room)()
        self._count = c_uint(0)

    def read(self, handle: Any) -> Iterator[tuple[int, int | None]]:
        """Pid and memory in bytes, None where the driver does not say. Raises NVMLError."""
        while True:
            self._count.value = self._room
            code = self._call(handle, byref(self._count), self._array)
            if code != nv.NVML_ERROR_INSUFFICIENT_SIZE or self._room >= MAX_ENTRIES:
                break
            self._room = min(max(self._count.value, self._room) * GROWTH, MAX_ENTRIES)
            self._array = (_Process * self._room)()
        check(code)
        for entry in self._array[: min(self._count.value, self._room)]:
            memory = entry.usedGpuMemory
            yield entry.pid, None if memory == _UNKNOWN_MEMORY else memory


class ProcessSamples:
    """SM use per process of one device, by whichever function the driver has."""

    def __init__(self) -> None:
        names = ("nvmlDeviceGetProcessesUtilizationInfo", "nvmlDeviceGetProcessUtilization")
        self._call = function(names)
        self._newer = self._call is nv._nvmlGetFunctionPointer_cache.get(names[0])  # noqa: SLF001
        self._allocate(128)

    def _allocate(self, room: int) -> None:
        self._room = room
        self._array = ((_ProcessSample if self._newer else _OldProcessSample) * room)()
        self._count = c_uint(0)
        self._info = nv.c_nvmlProcessesUtilizationInfo_v1_t()

    def read(self, handle: Any, since_us: int) -> Iterator[tuple[int, int, int]]:
        """pid, timestamp in microseconds since the epoch, percent; as the driver has them.

        Nothing new is no error. Raises NVMLError.
        """
        while True:
            code, count = self._ask(handle, since_us)
            if code != nv.NVML_ERROR_INSUFFICIENT_SIZE or self._room >= MAX_ENTRIES:
                break
            self._allocate(min(max(count, self._room) * GROWTH, MAX_ENTRIES))
        if code == nv.NVML_ERROR_NOT_FOUND:
            return
        check(code)
        for entry in self._array[: min(count, self._room)]:
            yield entry.pid, entry.timeStamp, entry.smUtil

    def _ask(self, handle: Any, since_us: int) -> tuple[int, int]:
        if not self._newer:
            self._count.value = self._room
            since = c_ulonglong(since_us)
            code = self._call(handle, self._array, byref(self._count), since)
            return code, self._count.value
        info = self._info
        info.version = nv.ProcessesUtilizationInfo_v1
        info.processSamplesCount = self._room
        info.lastSeenTimeStamp = since_us
        info.procUtilArray = ctypes.cast(self._array, _PROCESS_SAMPLES)
        return self._call(handle, byref(info)), info.processSamplesCount


class DeviceSamples:
    """The device's own buffer of GPU utilization samples."""

    def __init__(self, handle: Any) -> None:
        self._call = function(["nvmlDeviceGetSamples"])
        self._type = c_uint(0)
        self._count = c_uint(0)
        kind = c_uint(nv.NVML_GPU_UTILIZATION_SAMPLES)
        check(self._call(handle, kind, c_ulonglong(0), byref(self._type), byref(self._count), None))
        self._room = min(max(self._count.value, 128), MAX_ENTRIES)
        self._array = (_DeviceSample * self._room)()

    def read(self, handle: Any, since_us: int) -> Iterator[tuple[int, int]]:
        """Timestamp in microseconds since the epoch, and percent; nothing new is no error.

        Raises NVMLError.
        """
        self._count.value = self._room
        code = self._call(
            handle,
            c_uint(nv.NVML_GPU_UTILIZATION_SAMPLES),
            c_ulonglong(since_us),
            byref(self._type),
            byref(self._count),
            self._array,
        )
        if code == nv.NVML_ERROR_NOT_FOUND:
            return
        check(code)
        for entry in self._array[: min(self._count.value, self._room)]:
            yield entry.timeStamp, entry.sampleValue.uiVal


def unload() -> None:
    """Let go of the library, so that the next nvmlInit loads the one that is installed then.

    nvidia-ml-py keeps it, and pointers into it, for the life of the process. Only for when
    no thread is inside a call.
    """
    library = nv.nvmlLib
    nv.nvmlLib = None
    nv._nvmlGetFunctionPointer_cache.clear()  # noqa: SLF001
    if library is not None:
        ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))  # noqa: SLF001
