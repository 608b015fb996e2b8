"""From device names, as runtimes and schedulers write them, to GPUs of this host.

| name | means | who writes it |
|---|---|---|
| `0`, `0,1` | cards by NVML's index | NVIDIA_VISIBLE_DEVICES, Docker, Slurm |
| `GPU-8932f937-...` or its beginning | a card | CUDA_VISIBLE_DEVICES (CUDA C++ programming guide, appendix on environment variables), device plugin |
| `all`; `none`, `void` or nothing | every GPU; none | NVIDIA container toolkit (user guide, GPU enumeration) |
| `MIG-...`, `MIG-GPU-<card>/<gi>/<ci>` | an instance, as drivers name it since R470 and before | MIG user guide, device names |
| `0:1` | second instance of card 0 | libnvidia-container, src/cli/common.c |
| `nvidia.com/gpu=`, `k8s.device-plugin.nvidia.com/gpu=`, ... and one of the above, or `gpu0`, `mig0:1` | the same | CDI; nvidia-ctk names devices by index, UUID, or type and index |
| `GPU-...::3`, `nvidia0/vgpu3` | a replica of a shared GPU | k8s-device-plugin, internal/rm/devices.go; GKE, pkg/gpu/nvidia/gpusharing |
| `nvidia0`, `nvidia0/gi1`, `/dev/nvidia0` | a card, a GPU instance of it | GKE, pkg/gpu/nvidia/mig/mig.go |
| `gpu-0`, `gpu-0-mig-1g18gb-19-0`, also after `k8s.gpu.nvidia.com/claim=<claim>-` or `gpu.nvidia.com/<pool>/` | a card, an instance by profile | NVIDIA's DRA driver, cmd/gpu-kubelet-plugin |

`nvidiaN`, `gpu-N` and `/dev/nvidiaN` carry the device's minor number. It counts as NVML's index, which
it is on hosts whose driver found the cards in the order of their bus addresses.
"""  # noqa: E501  # rows of a table

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from gpuledger_agent.attribution.base import Workload
from gpuledger_agent.devices.base import GpuInfo

MAX_NAMES = 4_096
"""Names of one workload that are looked at."""

MAX_NAME = 256
"""Characters of a name; longer ones are unknown, and reported cut to this length."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A GPU or MIG instance, by its UUID in the books, and the part of it that may be used."""

    gpu: str
    share: float


def resolve(
    devices: Sequence[str], gpus: Sequence[GpuInfo], share: float = 1.0
) -> tuple[list[Grant], list[str]]:
    """Grants, in the order of `gpus`, and the names that no GPU of this host has, sorted.

    `share` (above 0, at most 1; anything else counts as 1) is the part that each name stands for.
    A GPU that is named repeatedly gets the sum, at most 1. A card in MIG mode stands for its
    instances and for what they leave over. Takes any strings, never raises.
    """
    host = _Host(gpus)
    part = share if 0 < share <= 1 else 1.0
    times: Counter[str] = Counter()
    unknown = set()
    for name in islice(_names(devices), MAX_NAMES):
        found = host.find(name)
        if found is None:
            unknown.add(name[:MAX_NAME])
        else:
            times.update(found)
    grants = [Grant(uuid, min(times[uuid] * part, 1.0)) for uuid in host.uuids if times[uuid]]
    return grants, sorted(unknown)


def granted_to(workload: Workload, gpus: Sequence[GpuInfo]) -> tuple[list[Grant], list[str]]:
    """What `resolve` makes of a workload's devices."""
    found = resolve(workload.devices, gpus, workload.share)
    if workload.counted and found[1]:
        return resolve(workload.counted, gpus, workload.share)
    return found


class Resolver:
    """`granted_to` for all workloads at once, and only for what is new. Used by one thread."""

    def __init__(self) -> None:
        self._gpus: Sequence[GpuInfo] = ()
        self._known: dict[tuple[object, ...], tuple[list[Grant], list[str]]] = {}

    def resolve(
        self, workloads: Sequence[Workload], gpus: Sequence[GpuInfo]
    ) -> list[tuple[list[Grant], list[str]]]:
        """Grants and unknown names of each workload."""
        known = self._known if gpus == self._gpus else {}
        keys = [(one.devices, one.counted, one.share) for one in workloads]
        self._known = {
            key: known.get(key) or granted_to(one, gpus)
            for key, one in zip(keys, workloads, strict=True)
        }
        self._gpus = gpus
        return [self._known[key] for key in keys]


def _names(devices: Iterable[str]) -> Iterator[str]:
    for text in devices:
        for name in text.split(",", MAX_NAMES):
            yield name.strip()


_NUMBER = r"(\d{1,9})"

_REPLICA = re.compile(rf"(?:::|/vgpu){_NUMBER}$", re.ASCII)

_QUALIFIER = re.compile(
    r"""(?: (?:[a-z0-9.-]+\.)? nvidia\.com/ (?:gpu|mig[a-z0-9.+-]*|device|claim) =  # CDI
        (?: [0-9a-f-]{36} - (?=gpu-) )?                                # the claim's UID
      | gpu\.nvidia\.com/ (?:[^/]+/)*                                  # DRA: driver, pool
    )""",
    re.VERBOSE,
)

_MANAGEMENT = "management.nvidia.com/"
"""CDI names of containers that look after GPUs (nvidia-ctk --mode=management): nothing granted."""

_NONE = re.compile(r"none|void|", re.IGNORECASE)
_ALL = re.compile(r"all", re.IGNORECASE)
_CARD = re.compile(rf"(?:gpu-?|(?:/dev/)?nvidia)?{_NUMBER}", re.ASCII)
_ORDINAL = re.compile(rf"(?:mig)?{_NUMBER}:{_NUMBER}", re.ASCII)
_GPU_INSTANCE = re.compile(rf"nvidia{_NUMBER}/gi{_NUMBER}", re.ASCII)
_COMPUTE_INSTANCE = re.compile(rf"MIG-(GPU-[^/]+)/{_NUMBER}/{_NUMBER}", re.ASCII)
_PROFILE = re.compile(rf"gpu-{_NUMBER}-mig-([a-z0-9-]+)-{_NUMBER}-{_NUMBER}", re.ASCII)
_UUID = re.compile(r"(?:GPU|MIG)-.+", re.ASCII | re.IGNORECASE)


class _Host:
    """The GPUs of this host, to be found by name."""

    def __init__(self, gpus: Sequence[GpuInfo]) -> None:
        self._gpus = gpus
        self.uuids = tuple(dict.fromkeys(gpu.uuid for gpu in gpus))
        self._by_uuid = {uuid.lower(): uuid for uuid in self.uuids}

    def find(self, name: str) -> set[str] | None:
        """UUIDs of what a name stands for; None if this host has no such GPU."""
        if len(name) > MAX_NAME:
            return None
        if _NONE.fullmatch(name) or name.startswith(_MANAGEMENT):
            return set()
        qualifier = _QUALIFIER.match(name)
        device = name[qualifier.end() :] if qualifier else name
        if _ALL.fullmatch(device):
            return set(self.uuids)
        device = _REPLICA.sub("", device)
        found = self._by_number(device)
        if not found and _UUID.fullmatch(device):
            found = self._by_uuid_or_its_beginning(device)
        return found or None

    def _by_number(self, name: str) -> set[str]:
        if match := _CARD.fullmatch(name):
            return self._card(int(match[1]))
        if match := _ORDINAL.fullmatch(name):
            card, nth = int(match[1]), int(match[2])
            return _nth(self._instances(card), nth)
        if match := _GPU_INSTANCE.fullmatch(name):
            card, gi = int(match[1]), int(match[2])
            return {one.uuid for one in self._instances(card) if one.gpu_instance == gi}
        if match := _PROFILE.fullmatch(name):
            return self._only_of_profile(int(match[1]), match[2])
        return set()

    def _card(self, index: int) -> set[str]:
        return {gpu.uuid for gpu in self._gpus if gpu.index == index}

    def _instances(self, index: int) -> list[GpuInfo]:
        return [gpu for gpu in self._gpus if gpu.index == index and gpu.parent_uuid]

    def _only_of_profile(self, index: int, profile: str) -> set[str]:
        # The name goes on with the instance's place on the card, which NVML does not tell: where
        # several have this profile, nobody can say which is meant.
        of_profile = [
            one for one in self._instances(index) if _plain(one.mig_profile) == _plain(profile)
        ]
        return {of_profile[0].uuid} if len(of_profile) == 1 else set()

    def _by_uuid_or_its_beginning(self, name: str) -> set[str]:
        uuid = self._by_uuid.get(name.lower())
        if uuid is None and (match := _COMPUTE_INSTANCE.fullmatch(name)):
            return self._compute_instance(match[1], int(match[2]), int(match[3]))
        if uuid is None:
            start = name.lower()
            longer = [found for key, found in self._by_uuid.items() if key.startswith(start)]
            uuid = longer[0] if len(longer) == 1 else None
        return {gpu.uuid for gpu in self._gpus if uuid in (gpu.uuid, gpu.parent_uuid)}

    def _compute_instance(self, card: str, gi: int, ci: int) -> set[str]:
        # NVML lists compute instances in the order of their ids, which count from 0 in each GI.
        siblings = [
            gpu
            for gpu in self._gpus
            if gpu.parent_uuid.lower() == card.lower() and gpu.gpu_instance == gi
        ]
        return _nth(siblings, ci)


def _nth(gpus: Sequence[GpuInfo], n: int) -> set[str]:
    return {gpus[n].uuid} if n < len(gpus) else set()


def _plain(profile: str) -> str:
    """`1g.18gb` and `1g18gb` alike."""
    return re.sub(r"[^a-z0-9]", "", profile.lower())
