"""What the stand-in library says, changed while programs run: `struct world` of standin.c."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import time
from ctypes import Structure, c_char, c_double, c_uint32, c_uint64
from enum import IntEnum
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "standin.c"
SONAME = "libnvidia-ml.so.1"

GPUS, PROCESSES, SAMPLES, INSTANCES = 16, 64, 256, 8

MIB = 1 << 20
NOT_AVAILABLE = 2**64 - 1
"""Memory of a process that the driver does not tell."""


class Kind(IntEnum):
    """Kind of GPU context."""

    COMPUTE = 1
    GRAPHICS = 2
    MPS = 3


class Function(IntEnum):
    """Groups of functions that a test can make fail."""

    HANDLE = 0
    MEMORY = 1
    SAMPLES = 2
    RATES = 3
    PROCESSES = 4
    PROCESS_UTIL = 5
    POWER = 6
    TEMPERATURE = 7
    CLOCK = 8
    ECC = 9
    EVENTS = 10
    GPM = 11


class CProcess(Structure):
    _fields_ = [
        ("pid", c_uint32),
        ("kind", c_uint32),
        ("memory", c_uint64),
        ("instance", c_uint32),
        ("sm", c_uint32),
    ]


class CSample(Structure):
    _fields_ = [("us", c_uint64), ("pid", c_uint32), ("value", c_uint32)]


class CInstance(Structure):
    _fields_ = [
        ("uuid", c_char * 96),
        ("id", c_uint32),
        ("slices", c_uint32),
        ("memory", c_uint64),
        ("used", c_uint64),
        ("sm", c_double),
        ("tensor", c_double),
        ("dram", c_double),
    ]


class CGpu(Structure):
    _fields_ = [
        ("uuid", c_char * 96),
        ("name", c_char * 96),
        ("memory", c_uint64),
        ("used", c_uint64),
        ("ecc", c_uint64),
        ("power_mw", c_uint32),
        ("temperature", c_uint32),
        ("sm_clock", c_uint32),
        ("xid", c_uint32),
        ("lost", c_uint32),
        ("hang", c_uint32),
        ("error", c_uint32 * len(Function)),
        ("size_query", c_uint32),
        ("flowing", c_uint32),
        ("gpm", c_uint32),
        ("mig", c_uint32),
        ("total_slices", c_uint32),
        ("gpm_sm", c_double),
        ("gpm_tensor", c_double),
        ("gpm_dram", c_double),
        ("processes", c_uint32),
        ("samples", c_uint32),
        ("process_samples", c_uint32),
        ("instances", c_uint32),
        ("process", CProcess * PROCESSES),
        ("sample", CSample * SAMPLES),
        ("process_sample", CSample * SAMPLES),
        ("instance", CInstance * INSTANCES),
    ]


class CWorld(Structure):
    _fields_ = [
        ("init_error", c_uint32),
        ("generation", c_uint32),
        ("gpus", c_uint32),
        ("calls", c_uint32),
        ("driver", c_char * 80),
        ("gpu", CGpu * GPUS),
    ]


def build(directory: Path, *flags: str) -> Path:
    """Compile the library into a directory; return the directory. Raises CalledProcessError."""
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden",
         f"-Wl,-soname,{SONAME}", *flags, "-o", str(directory / SONAME), str(SOURCE)],
        check=True,
    )  # fmt: skip
    return directory


class Standin:
    """The world of one stand-in library.

    `raw` is the shared memory itself: `raw.gpu[0].lost = 15` and GPU 0 is lost, in every program
    that uses the file. The methods do what takes more than an assignment.
    """

    def __init__(self, path: Path, library: Path, gpus: int = 8) -> None:
        self._path = path
        self._library = library
        path.write_bytes(bytes(ctypes.sizeof(CWorld)))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.raw = CWorld.from_buffer(self._map)
        self.raw.generation = 1
        self.raw.driver = b"570.124.06"
        self.raw.gpus = gpus
        for index in range(gpus):
            gpu = self.raw.gpu[index]
            gpu.uuid = f"GPU-00000000-0000-0000-0000-{index:012d}".encode()
            gpu.name = b"NVIDIA H100 80GB HBM3"
            gpu.memory = 81_559 * MIB
            gpu.power_mw = 120_000
            gpu.temperature = 40
            gpu.sm_clock = 1_755

    @property
    def env(self) -> dict[str, str]:
        """Environment in which a program finds this library and this world."""
        return os.environ | {
            "LD_LIBRARY_PATH": str(self._library),
            "GPULEDGER_STANDIN": str(self._path),
        }

    def add(
        self,
        gpu: int,
        pid: int,
        mib: int | None = 1024,
        kind: Kind = Kind.COMPUTE,
        *,
        sm: int = 0,
        instance: int = 0,
    ) -> None:
        """A process on a GPU; `mib` None: the driver does not say. `sm` is for `flowing`."""
        raw = self.raw.gpu[gpu]
        memory = NOT_AVAILABLE if mib is None else mib * MIB
        raw.process[raw.processes] = CProcess(pid, kind, memory, instance, sm)
        raw.processes += 1
        raw.used += 0 if mib is None else memory

    def remove(self, gpu: int, pid: int) -> None:
        """The process leaves the GPU."""
        raw = self.raw.gpu[gpu]
        left = [_copy(p) for p in raw.process[: raw.processes] if p.pid != pid]
        gone = [p for p in raw.process[: raw.processes] if p.pid == pid]
        raw.used -= sum(p.memory for p in gone if p.memory != NOT_AVAILABLE)
        for index, process in enumerate(left):
            raw.process[index] = process
        raw.processes = len(left)

    def sample(self, gpu: int, pct: int, us: int) -> None:
        """The device was `pct` busy until `us` (microseconds since the epoch)."""
        raw = self.raw.gpu[gpu]
        raw.sample[raw.samples] = CSample(us, 0, pct)
        raw.samples += 1

    def process_sample(self, gpu: int, pid: int, pct: int, us: int) -> None:
        """A process used `pct` of the SMs until `us`."""
        raw = self.raw.gpu[gpu]
        raw.process_sample[raw.process_samples] = CSample(us, pid, pct)
        raw.process_samples += 1

    def slice(self, gpu: int, *slices: int, total: int = 7) -> None:
        """Cut a GPU into MIG instances with ids 1, 2, … of so many compute slices."""
        raw = self.raw.gpu[gpu]
        raw.mig, raw.total_slices, raw.instances = 1, total, len(slices)
        for index, count in enumerate(slices):
            raw.instance[index].uuid = f"MIG-{gpu}-{index + 1}".encode()
            raw.instance[index].id = index + 1
            raw.instance[index].slices = count
            raw.instance[index].memory = count * 10 << 30

    def fail(self, gpu: int, function: Function, code: int) -> None:
        """Make a group of functions answer with an NVML error code; 0 for none."""
        self.raw.gpu[gpu].error[function] = code

    def upgrade_driver(self, version: str) -> None:
        """The kernel module is replaced: libraries loaded before no longer fit."""
        self.raw.driver = version.encode()
        self.raw.generation += 1


def now_us() -> int:
    """Microseconds since the epoch, as the driver stamps its samples."""
    return time.time_ns() // 1000


def _copy(structure: Any) -> Any:
    return type(structure).from_buffer_copy(structure)
