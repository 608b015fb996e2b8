"""GPU performance monitoring (GPM, Hopper and later): rates between two samples of counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pynvml as nv

_METRICS = (
    nv.NVML_GPM_METRIC_SM_UTIL,
    nv.NVML_GPM_METRIC_ANY_TENSOR_UTIL,
    nv.NVML_GPM_METRIC_DRAM_BW_UTIL,
)


@dataclass(frozen=True, slots=True)
class Activity:
    """Mean activity between two reads, percent; None where the device does not say."""

    sm_pct: float | None = None
    tensor_pct: float | None = None
    dram_pct: float | None = None


def supported(handle: Any) -> bool:
    """Whether a device has GPM. Raises NVMLError."""
    return bool(nv.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice)


class Gpm:
    """Counters of one device, or of one MIG instance of it (`instance_id`)."""

    def __init__(self, handle: Any, instance_id: int | None = None) -> None:
        """Allocate the two samples. Raises NVMLError."""
        self._handle = handle
        self._instance_id = instance_id
        self._before = nv.nvmlGpmSampleAlloc()
        self._after = nv.nvmlGpmSampleAlloc()
        self._primed = False
        self._get = nv.c_nvmlGpmMetricsGet_t()
        self._get.version = nv.NVML_GPM_METRICS_GET_VERSION
        self._get.numMetrics = len(_METRICS)
        for slot, metric in zip(self._get.metrics, _METRICS, strict=False):
            slot.metricId = metric

    def read(self) -> Activity:
        """Activity since the read before; nothing at the first. Raises NVMLError."""
        if self._instance_id is None:
            nv.nvmlGpmSampleGet(self._handle, self._after)
        else:
            nv.nvmlGpmMigSampleGet(self._handle, self._instance_id, self._after)
        values: list[float | None] = [None] * len(_METRICS)
        if self._primed:
            self._get.sample1, self._get.sample2 = self._before, self._after
            nv.nvmlGpmMetricsGet(self._get)
            values = [_value(self._get.metrics[index]) for index in range(len(_METRICS))]
        self._before, self._after = self._after, self._before
        self._primed = True
        return Activity(*values)

    def free(self) -> None:
        """Give the samples back."""
        nv.nvmlGpmSampleFree(self._before)
        nv.nvmlGpmSampleFree(self._after)


def _value(metric: Any) -> float | None:
    # NaN where no time has passed between the samples.
    if metric.nvmlReturn or not 0.0 <= metric.value <= 100.0:
        return None
    return float(metric.value)
