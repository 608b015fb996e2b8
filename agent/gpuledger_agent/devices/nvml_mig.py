"""MIG: the instances that a GPU is cut into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pynvml as nv

from gpuledger_agent.devices.base import GpuInfo
from gpuledger_agent.devices.gpm import Gpm

_LARGEST_PROFILES = (
    nv.NVML_GPU_INSTANCE_PROFILE_8_SLICE,
    nv.NVML_GPU_INSTANCE_PROFILE_7_SLICE,
    nv.NVML_GPU_INSTANCE_PROFILE_4_SLICE,
)
"""Profiles of a whole GPU: 7 slices on A100 and H100, 4 on A30."""


@dataclass(slots=True)
class Instance:
    """One MIG device: a compute instance in a GPU instance."""

    handle: Any
    instance_id: int
    info: GpuInfo
    gpm: Gpm | None


def enabled(handle: Any) -> bool:
    """Whether a GPU is in MIG mode. Raises NVMLError."""
    try:
        return bool(nv.nvmlDeviceGetMigMode(handle)[0])
    except (nv.NVMLError_NotSupported, nv.NVMLError_FunctionNotFound):
        return False


def find_instances(handle: Any, whole: GpuInfo, *, with_gpm: bool) -> list[Instance]:
    """The MIG devices of a GPU as they are now. Raises NVMLError."""
    slices = _slices(handle)
    found = []
    for index in range(nv.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            mig = nv.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except (nv.NVMLError_NotFound, nv.NVMLError_InvalidArgument):
            continue
        found.append(_instance(handle, mig, whole, slices, with_gpm=with_gpm))
    return found


def _instance(handle: Any, mig: Any, whole: GpuInfo, slices: int, *, with_gpm: bool) -> Instance:
    attributes = nv.nvmlDeviceGetAttributes(mig)
    instance_id = nv.nvmlDeviceGetGpuInstanceId(mig)
    # "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
    profile = str(nv.nvmlDeviceGetName(mig)).rpartition(" MIG ")[2]
    info = GpuInfo(
        uuid=str(nv.nvmlDeviceGetUUID(mig)),
        index=whole.index,
        model=whole.model,
        memory_mib=int(attributes.memorySizeMB),
        share=min(attributes.computeInstanceSliceCount / slices, 1.0),
        parent_uuid=whole.uuid,
        mig_profile=profile,
        gpu_instance=instance_id,
    )
    gpm = Gpm(handle, instance_id) if with_gpm else None
    return Instance(mig, instance_id, info, gpm)


def _slices(handle: Any) -> int:
    """Compute slices of the whole GPU."""
    for profile in _LARGEST_PROFILES:
        try:
            info = nv.nvmlDeviceGetGpuInstanceProfileInfo(handle, profile, version=1)
        except nv.NVMLError:
            continue
        if info.sliceCount:
            return int(info.sliceCount)
    return 7
