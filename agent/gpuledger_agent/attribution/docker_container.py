"""A container as the Docker Engine API describes it (GET /containers/ID/json), made a workload."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from gpuledger_agent.attribution import cdi
from gpuledger_agent.attribution.base import Kind, Workload
from gpuledger_agent.attribution.docker_api import member, text
from gpuledger_agent.attribution.labels import fitting

MAX_DEVICES = 256
"""GPUs and parts of GPUs of one container; more are not looked at."""

NVIDIA_RUNTIMES = frozenset({"nvidia", "nvidia-cdi", "nvidia-legacy"})
"""OCI runtimes of the NVIDIA container toolkit, by the names that its installer gives them."""

VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"
MPS_PERCENTAGE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
SANDBOX_ID = "io.kubernetes.sandbox.id"
ANNOTATION = "annotation."
"""Labels by which cri-dockerd marks the containers of pods; it keeps annotations as labels too."""


def describe(container_id: str, inspected: Any, wants: Callable[[str], bool]) -> Workload:
    """The container, or the pod that it is in. Raises SourceError.

    `wants` says which environment variables to keep.
    """
    config = member(inspected, "Config", dict)
    host_config = member(inspected, "HostConfig", dict)
    environ = dict(_variables(member(config, "Env", list)))
    labels = _texts(member(config, "Labels", dict).items())
    namespace, pod = labels.get(POD_NAMESPACE, ""), labels.get(POD_NAME, "")
    name = text(member(inspected, "Name", str)).removeprefix("/")
    in_pod = _in_pod(name, namespace, pod)
    if in_pod:
        labels = {name.removeprefix(ANNOTATION): value for name, value in labels.items()}
    return Workload(
        kind=Kind.POD if in_pod else Kind.CONTAINER,
        id=container_id,
        name=f"{namespace}/{pod}" if in_pod else name,
        labels=fitting(labels),
        image=text(member(config, "Image", str)),
        namespace=namespace if in_pod else "",
        environ=fitting(_texts((n, value) for n, value in environ.items() if wants(n))),
        devices=_devices(host_config, environ.get(VISIBLE_DEVICES)),
        share=_share(environ.get(MPS_PERCENTAGE, "")),
    )


def _in_pod(name: str, namespace: str, pod: str) -> bool:
    """Whether cri-dockerd made it. Labels alone do not tell: an image can bring them along."""
    return bool(namespace and pod) and name.startswith("k8s_") and f"_{pod}_{namespace}_" in name


def _texts(pairs: Iterable[tuple[Any, Any]]) -> dict[str, str]:
    """The pairs that are text and not too long, empty values too: a label may be a mere name."""
    texts = ((text(name), text(value)) for name, value in pairs if value == "" or text(value))
    return {name: value for name, value in texts if name}


def _variables(env: list[Any]) -> Iterator[tuple[str, str]]:
    for item in env:
        if isinstance(item, str):
            name, _, value = item.partition("=")
            if text(name) == name:
                yield name, value


def _devices(host_config: Mapping[str, Any], visible: str | None) -> tuple[str, ...]:
    """The GPUs, from the surest evidence that there is.

    NVIDIA_VISIBLE_DEVICES counts with NVIDIA's runtime only: CUDA images say `all` even where no
    GPU is given. Docker tells the runtime of every container that ran, its default runtime too;
    Podman tells `oci` of each, and of CDI devices the nodes that they brought.
    """
    requests = member(host_config, "DeviceRequests", list)
    found = [device for request in requests for device in _requested(request)]
    nvidia = member(host_config, "Runtime", str) in NVIDIA_RUNTIMES
    if not found and nvidia and visible is not None:
        found = [text(device.strip()) for device in visible.split(",", MAX_DEVICES)]
    if not found:
        nodes = (member(d, "PathOnHost", str) for d in member(host_config, "Devices", list))
        found = [text(node) for node in nodes if _is_gpu_node(node)]
    return tuple(islice(filter(None, dict.fromkeys(found)), MAX_DEVICES))


def _requested(request: Any) -> list[str]:
    """What `--gpus`, `--device nvidia.com/gpu=...` and Compose's reservations ask for."""
    driver = member(request, "Driver", str)
    ids = [text(device) for device in member(request, "DeviceIDs", list)]
    if driver == "cdi":
        return [device for device in ids if cdi.is_gpu(device)]
    capabilities = member(request, "Capabilities", list)
    gpu = any(isinstance(every, list) and "gpu" in every for every in capabilities)
    if driver != "nvidia" and not (driver == "" and gpu):
        return []
    count = member(request, "Count", int)
    if ids or not count:
        return ids
    return ["all"] if count < 0 else [str(ordinal) for ordinal in range(min(count, MAX_DEVICES))]


def _is_gpu_node(path: str) -> bool:
    prefix, number = path[: len("/dev/nvidia")], path[len("/dev/nvidia") :]
    return prefix == "/dev/nvidia" and number.isascii() and number.isdigit()


def _share(percentage: str) -> float:
    """The part of a GPU that MPS lets the container use; 1.0 where nothing sane is said."""
    try:
        percent = float(percentage)
    except ValueError:
        return 1.0
    return percent / 100.0 if 0.0 < percent <= 100.0 else 1.0
