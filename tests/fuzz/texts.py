"""What servers, runtimes and the kernel tell the agent, mutated."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from random import Random

from cryptography.hazmat.primitives.serialization import Encoding

from gpuledger_agent.attribution import cgroup
from gpuledger_agent.attribution.base import MAX_VALUE_BYTES, SourceError, Workload
from gpuledger_agent.attribution.cri_info import started
from gpuledger_agent.attribution.docker_container import MAX_DEVICES, describe
from gpuledger_agent.serving.delta import Counted
from gpuledger_agent.serving.errors import REASONS, ScrapeError
from gpuledger_agent.serving.exposition import MAX_SAMPLES, OPENMETRICS, samples
from gpuledger_agent.serving.reading import MAX_COUNT, read, wanted
from gpuledger_agent.validity import of_der
from tests.fuzz.bytes_of import TOKENS, mutated
from tests.fuzz.contract import Breach
from tests.serving.exposed import FAMILIES, TEXTS
from tests.tls_fixture import self_signed

ID = "3f2a9c1b04de1c132e0533b206c8d6f0016cf2baee8e7a1a11440e304ab9e0d0"

CONTAINER = json.dumps(
    {
        "Id": ID,
        "Name": "/k8s_ranker_ranker-0_ml_15513b48_0",
        "Config": {
            "Image": "vllm:1",
            "Env": ["NVIDIA_VISIBLE_DEVICES=0,1", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=50", "TEAM=a"],
            "Labels": {"team": "search", "io.kubernetes.pod.name": "ranker-0",
                       "io.kubernetes.pod.namespace": "ml", "annotation.a": "b"},
        },
        "HostConfig": {
            "Runtime": "nvidia",
            "DeviceRequests": [{"Driver": "nvidia", "Count": -1, "DeviceIDs": ["GPU-1"],
                                "Capabilities": [["gpu"]]}],
            "Devices": [{"PathOnHost": "/dev/nvidia0"}],
        },
    }
).encode()  # fmt: skip

INFO = json.dumps(
    {
        "config": {"envs": [{"key": "TEAM", "value": "a"}],
                   "CDI_devices": [{"name": "nvidia.com/gpu=0"}]},
        "runtimeSpec": {"process": {"env": ["NVIDIA_VISIBLE_DEVICES=all", "TEAM=b"]}},
        "runtimeOptions": {"binary_name": "/usr/bin/nvidia-container-runtime"},
    }
).encode()  # fmt: skip

CGROUPS = [
    f"0::/system.slice/docker-{ID}.scope\n".encode(),
    b"12:devices:/kubepods/burstable/pod15513b48-e7a5-48fc-b9e3-92f713f36504/"
    + ID.encode()
    + b"\n0::/\n",
    b"5:memory:/slurm/uid_1000/job_17/step_0/task_0\n0::/user.slice/user-1000.slice/session-3.scope",
    b"0::/kubepods.slice/kubepods-pod1858680e_b044_4b7c_9a51_2f6b7d9a2180.slice/cri-containerd-"
    + ID.encode()
    + b".scope",
]

JSON = (
    *TOKENS,
    b"{",
    b"[",
    b"}",
    b"]",
    b"null",
    b"true",
    b"1e400",
    b'"\\ud800"',
    b'"":',
    b"[" * 2_000,
)
LINES = (
    *TOKENS,
    b"{",
    b"}",
    b",",
    b"=",
    b" ",
    b'le="+Inf"',
    b"# TYPE ",
    b"_bucket",
    b"_total",
    b"\r",
)
PATHS = (*TOKENS, b"/", b":", b"../", b".scope", b"docker-", b"/pod", b"machine-", ID.encode())


class Expositions:
    """What an inference server answers when it is asked for its metrics."""

    def __init__(self) -> None:
        self._seeds = [path.read_bytes() for path in sorted(TEXTS.glob("*.txt"))]
        self._wanted = wanted(FAMILIES)

    def execute(self, dice: Random) -> int:
        lines = dice.choice(self._seeds).splitlines(keepends=True)
        at = int(dice.random() * len(lines))
        body = mutated(dice, [b"".join(lines[at : at + 40])], LINES)
        kind = OPENMETRICS if dice.random() < 0.2 else "text/plain"
        try:
            reading = read(samples(body, kind, self._wanted), FAMILIES)
        except ScrapeError as refused:
            if refused.reason not in REASONS:
                raise Breach(f"the reason {refused.reason!r}") from refused
            return 1
        if reading is not None:
            if reading.size > 2 * MAX_SAMPLES:
                raise Breach("more than was read")
            for served in Counted().served(reading).values():
                if not all(
                    0 <= count < MAX_COUNT * MAX_SAMPLES for count in served.counts.values()
                ):
                    raise Breach("a count that none can be")
        return 1


class Containers:
    """What Docker and Podman tell of a container."""

    def execute(self, dice: Random) -> int:
        try:
            workload = describe(ID, json.loads(mutated(dice, [CONTAINER], JSON)), lambda _: True)
        except (ValueError, RecursionError, SourceError):
            return 1
        check_workload(workload)
        return 1


class Infos:
    """What containerd and CRI-O tell of how a container was started."""

    def execute(self, dice: Random) -> int:
        begun = started({"info": mutated(dice, [INFO], JSON)}, lambda _: True)
        _check_texts([*begun.environ, *begun.environ.values(), begun.visible, *begun.cdi])
        return 1


class Cgroups:
    """What /proc/PID/cgroup shows of cgroups that a stranger has named."""

    def execute(self, dice: Random) -> int:
        text = mutated(dice, CGROUPS, PATHS).decode("utf-8", "surrogateescape")
        found = cgroup.refs(text)
        if len(found) > cgroup.MAX_DEPTH:
            raise Breach("deeper than it may be")
        return 1


class Certificates:
    """What a port shows that may be anybody's."""

    def __init__(self) -> None:
        kinds = ((2020, 2040), (2020, 2060))  # their dates are written otherwise from 2050 on
        made = [
            self_signed(*(datetime(year, 1, 1, tzinfo=UTC) for year in years)) for years in kinds
        ]
        self._seeds = [one.public_bytes(Encoding.DER) for one in made]

    def execute(self, dice: Random) -> int:
        # What matters is in front: the rest is a key and a signature.
        der = mutated(dice, [dice.choice(self._seeds)[:120]])
        with suppress(ValueError):
            of_der(der)
        return 1


def check_workload(workload: Workload) -> None:
    """Raise Breach unless it is small and all of its texts can be sent."""
    _check_texts([workload.name, workload.image, workload.namespace, *workload.devices])
    _check_texts([*workload.labels, *workload.labels.values()])
    _check_texts([*workload.environ, *workload.environ.values()])
    if len(workload.devices) > MAX_DEVICES or not 0 < workload.share <= 1:
        raise Breach("a grant that none can be")


def _check_texts(texts: list[str]) -> None:
    for text in texts:
        if len(text.encode()) > 2 * MAX_VALUE_BYTES:
            raise Breach("a text that is too long")
