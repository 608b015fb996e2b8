"""What the agent asks of a device family, and the plain data it gets back.

A family (NVML, the simulated fleet) implements `DeviceLayer` and `Device`. Every
call may block for as long as a driver hangs: callers give each GPU its own thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Protocol


class SmSource(IntEnum):
    """Where an SM figure comes from; values are those of the wire."""

    PROCESS = 1
    DEVICE = 2
    APPORTIONED = 3
    GPM = 4
    UNKNOWN = 5


class Context(IntEnum):
    """What kind of GPU context a process has; values are those of the wire."""

    COMPUTE = 1
    GRAPHICS = 2
    MPS = 3


class Fault(Enum):
    """What went wrong with a driver or a GPU, by what can be done about it."""

    NO_DRIVER = "no_driver"
    """No library or no kernel module: wait for it."""
    DRIVER_CHANGED = "driver_changed"
    """The loaded library no longer matches the kernel module: load it afresh."""
    PERMISSION = "permission"
    """The agent may not: an operator has to act."""
    LOST = "lost"
    """The GPU fell off the bus or needs a reset."""
    FAILED = "failed"
    """Any other error of one call: try again at the next tick."""


class DeviceError(Exception):
    """A driver or a GPU that did not answer; `fault` says what to do about it."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class GpuInfo:
    """One physical GPU, or one MIG instance of it, or what its instances leave over.

    `share` is the part of a physical GPU that it stands for: 1.0 for a whole GPU; for a MIG
    instance its compute slices over those of the GPU. `parent_uuid` and `mig_profile` are empty
    for a whole GPU, `gpu_instance` (the id of the GPU instance that it lies in) is None.
    `memory_mib` is None where the driver does not say.
    """

    uuid: str
    index: int
    model: str
    memory_mib: int | None
    share: float = 1.0
    parent_uuid: str = ""
    mig_profile: str = ""
    gpu_instance: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """One process on one GPU, at one reading.

    `sm_fraction` is its mean SM use (0 to 1) over the time the driver's samples cover since the
    previous reading, None where the driver gives no figure per process (0.0 where it says idle).
    `listed` is False for a process that left the driver's list since the previous reading but
    for which the driver still gave a sample: its work counts, its memory is gone.
    """

    pid: int
    context: Context
    mem_mib: int | None
    sm_fraction: float | None
    sm_pct_max: int | None
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Reading:
    """What one GPU (or MIG instance) said at one moment.

    Units are in the names; None is "not offered". `sm_fraction` is the mean SM use (0 to 1) over
    the time the driver's own samples cover since the previous reading; None with `sm_source`
    UNKNOWN if the device offers none, None with another source if nothing new was sampled yet
    (the next reading covers that time too).
    """

    gpu: GpuInfo
    processes: tuple[ProcessReading, ...]
    sm_fraction: float | None
    sm_pct_max: int | None
    sm_source: SmSource
    mem_used_mib: int | None = None
    power_w: int | None = None
    temperature_c: int | None = None
    sm_clock_mhz: int | None = None
    tensor_pct: float | None = None
    dram_pct: float | None = None
    ecc_uncorrected: int | None = None
    xid: int = 0


class Device(Protocol):
    """One physical GPU. Used by one thread at a time."""

    @property
    def index(self) -> int:
        """Ordinal on this host, as the driver counts."""
        ...

    def read(self) -> tuple[Reading, ...]:
        """One reading, or under MIG one per instance and one for what they leave over.

        Raises DeviceError.
        """
        ...


class DeviceLayer(Protocol):
    """A family of devices, as its driver presents it."""

    def open(self) -> str:
        """Start talking to the driver; return its version. Idempotent. Raises DeviceError."""
        ...

    def count(self) -> int:
        """How many physical GPUs the driver knows. Raises DeviceError."""
        ...

    def device(self, index: int) -> Device:
        """Open GPU `index` (0 to count-1). Raises DeviceError."""
        ...

    def close(self) -> None:
        """Let go of the driver. Never raises."""
        ...
