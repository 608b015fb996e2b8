"""Names of the Container Device Interface: vendor/class=device."""

from __future__ import annotations

ANNOTATION = "cdi.k8s.io/"
"""How annotations that inject devices begin; their values are names, separated by commas."""

GPU_KINDS = frozenset(
    {
        "nvidia.com/gpu",
        "runtime.nvidia.com/gpu",
        "k8s.device-plugin.nvidia.com/gpu",
        "k8s.gpu.nvidia.com/device",
        "k8s.gpu.nvidia.com/claim",
    }
)
"""Vendor and class of NVIDIA's GPUs, as the container toolkit, the device plugin and the DRA driver
write them. Not so management.nvidia.com: it lets a monitor see all GPUs and grants it none."""


def is_gpu(name: str) -> bool:
    """Whether this names a GPU or a part of one."""
    kind, equals, device = name.partition("=")
    return kind in GPU_KINDS and bool(equals and device)
