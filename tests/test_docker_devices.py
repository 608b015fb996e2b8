"""GPUs that a real Docker and a real Podman were asked for, as DockerSource tells them.

No GPU and no NVIDIA toolkit is here. Docker takes requests for GPUs when it creates a container;
what would start it is not asked. Podman starts it, with nodes that no driver stands behind.
"""

from __future__ import annotations

from typing import Any

import pytest

from gpuledger_agent.attribution.base import Kind, Workload, WorkloadRef
from gpuledger_agent.attribution.docker import DockerSource
from tests.runtimes.podman import Podman
from tests.runtimes.runtime import Runtime


def told(runtime: Runtime, container_id: str) -> Workload:
    source = DockerSource(runtime.socket, lambda _variable: False)
    found = source.workload(WorkloadRef(Kind.CONTAINER, container_id))
    assert found is not None
    return found


GPU_NODE = {"PathInContainer": "/dev/nvidia0", "CgroupPermissions": "rwm"}


@pytest.mark.parametrize(
    ("host_config", "env", "devices"),
    [
        pytest.param({}, {}, (), id="nothing asked for"),
        pytest.param(
            {"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]},
            {},
            ("all",),
            id="--gpus all",
        ),
        pytest.param(
            {"DeviceRequests": [{"Count": 2, "Capabilities": [["gpu"]]}]},
            {},
            ("0", "1"),
            id="--gpus 2",
        ),
        pytest.param(
            {"DeviceRequests": [{"DeviceIDs": ["1", "GPU-8932f937"], "Capabilities": [["gpu"]]}]},
            {},
            ("1", "GPU-8932f937"),
            id="--gpus device=1,GPU-8932f937",
        ),
        pytest.param(
            {
                "DeviceRequests": [
                    {"Driver": "nvidia", "Count": 1, "Capabilities": [["compute", "utility"]]}
                ]
            },
            {},
            ("0",),
            id="Compose with driver: nvidia",
        ),
        pytest.param(
            {"DeviceRequests": [{"Driver": "amd", "Count": 1, "Capabilities": [["gpu"]]}]},
            {},
            (),
            id="another vendor's",
        ),
        pytest.param(
            {
                "DeviceRequests": [
                    {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=0", "acme.com/net=eth0"]}
                ]
            },
            {},
            ("nvidia.com/gpu=0",),
            id="--device nvidia.com/gpu=0",
        ),
        pytest.param(
            {"Runtime": "nvidia"},
            {"NVIDIA_VISIBLE_DEVICES": "0, 3"},
            ("0", "3"),
            id="--runtime nvidia",
        ),
        pytest.param(
            {"Runtime": "nvidia"}, {"NVIDIA_VISIBLE_DEVICES": "void"}, ("void",), id="void"
        ),
        pytest.param({"Runtime": "nvidia"}, {}, (), id="--runtime nvidia, no variable"),
        pytest.param({}, {"NVIDIA_VISIBLE_DEVICES": "all"}, (), id="a CUDA image without GPU"),
        pytest.param(
            {
                "Devices": [
                    {"PathOnHost": "/dev/nvidia1", **GPU_NODE},
                    {"PathOnHost": "/dev/null", **GPU_NODE},
                ]
            },
            {},
            ("/dev/nvidia1",),
            id="--device /dev/nvidia1",
        ),
    ],
)
def test_devices_when_docker_was_asked_for_them_are_named_as_asked(
    dockerd: Runtime, host_config: dict[str, Any], env: dict[str, str], devices: tuple[str, ...]
) -> None:
    with dockerd.prepared("trainer", {}, env, **host_config) as container_id:
        assert told(dockerd, container_id).devices == devices


@pytest.mark.parametrize(
    ("option", "devices"),
    [
        ("--device=nvidia.com/gpu=1", ("/dev/nvidia1",)),
        ("--device=nvidia.com/gpu=all", ("/dev/nvidia0", "/dev/nvidia1")),
        ("--device=/dev/nvidia0", ("/dev/nvidia0",)),
        ("--env=NVIDIA_VISIBLE_DEVICES=all", ()),
    ],
)
def test_devices_when_podman_was_asked_for_them_are_the_nodes_they_brought(
    podman: Podman, option: str, devices: tuple[str, ...]
) -> None:
    with podman.by_command("trainer", option) as container_id:
        assert told(podman, container_id).devices == devices


@pytest.mark.parametrize(
    ("percentage", "share"),
    [("25", 0.25), ("12.5", 0.125), ("0", 1.0), ("101", 1.0), ("nan", 1.0), ("half", 1.0)],
)
def test_share_when_mps_limits_the_container_is_what_it_may_use(
    dockerd: Runtime, percentage: str, share: float
) -> None:
    env = {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": percentage}
    with dockerd.prepared("small", {}, env) as container_id:
        assert told(dockerd, container_id).share == share
