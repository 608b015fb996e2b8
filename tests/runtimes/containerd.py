"""containerd with its CRI plugin, started by the tests in a place of its own.

Pods are on the host's network, so that no CNI plugin is needed, and run an image made here.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.runtimes.cri_requests import CriClient
from tests.runtimes.enclosure import Enclosure, host_pid, remove_cgroups, require
from tests.runtimes.image import BUSYBOX, IMAGE, build
from tests.waiting import wait_until

PROGRAMS = ("containerd", "ctr", "runc", str(BUSYBOX))
PACKAGES = "containerd runc busybox-static"

CRI_PLUGIN = "io.containerd.grpc.v1.cri"

NAMESPACES = {"namespace_options": {"network": 2, "pid": 1}}
"""The host's network; of processes its own, as the kubelet has it."""

CGROUPS = ("kubepods/burstable", "kubepods", "k8s.io")
"""Where pods are, and what containerd starts for others."""

_CONFIG = """\
version = 2
root = "{home}/root"
state = "/run/containerd"
disabled_plugins = {disabled}
[grpc]
  address = "{home}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "/run/containerd-opt"
[plugins."{cri}"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  sandbox_image = "{image}"
  [plugins."{cri}".containerd]
    snapshotter = "native"
"""
"""State is in the enclosure's own /run. The root is not: ctr mounts from there, outside."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of one container; `pid` is its first process as the host counts."""

    sandbox_id: str
    container_id: str
    uid: str
    pid: int


class Containerd:
    """A running containerd. `socket` is where it listens, also for the CRI."""

    def __init__(self, socket: Path, channel: grpc.Channel) -> None:
        self.socket = socket
        self._cri = CriClient(channel)
        self._started: list[str] = []

    def run_pod(
        self,
        name: str,
        namespace: str = "default",
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        container_annotations: Mapping[str, str] | None = None,
    ) -> Pod:
        """Start a pod with what a kubelet adds to it; it names images by their id, too."""
        uid = str(uuid.uuid4())
        own = {
            "io.kubernetes.pod.name": name,
            "io.kubernetes.pod.namespace": namespace,
            "io.kubernetes.pod.uid": uid,
        }
        cgroup = {"cgroup_parent": f"/kubepods/burstable/pod{uid}"}
        config = {
            "metadata": {"name": name, "uid": uid, "namespace": namespace},
            "log_directory": "/run",
            "labels": _encoded({**(labels or {}), **own}),
            "annotations": _encoded(annotations or {}),
            "linux": {**cgroup, "security_context": NAMESPACES},
        }
        sandbox = self._cri.run_sandbox(config)
        self._started += (sandbox, f"pod{uid}")
        container = self._cri.run_container(
            sandbox,
            config,
            metadata={"name": "main"},
            image={"image": self._cri.image_id(IMAGE)},
            envs=[{"key": key, "value": value} for key, value in (env or {}).items()],
            labels=_encoded({"io.kubernetes.container.name": "main", **own}),
            annotations=_encoded(container_annotations or {}),
            linux={"security_context": NAMESPACES},
        )
        self._started.insert(0, container)
        return Pod(sandbox, container, uid, host_pid(container))

    def stop_container(self, pod: Pod) -> None:
        """End the pod's container, which stays as exited."""
        self._cri.stop_container(pod.container_id)

    def remove(self, pod: Pod) -> None:
        """End a pod and remove it with its container."""
        self._cri.remove_sandbox(pod.sandbox_id)

    @contextmanager
    def pod(self, *args: Any, **kwargs: Any) -> Iterator[Pod]:
        """`run_pod`, and `remove` in the end."""
        pod = self.run_pod(*args, **kwargs)
        try:
            yield pod
        finally:
            self.remove(pod)

    @contextmanager
    def plain_container(self, name: str) -> Iterator[int]:
        """The host pid of a container that the CRI does not know, as nerdctl makes them."""
        self._started.insert(0, name)
        self.ctr("run", "--detach", "--null-io", "--snapshotter", "native", IMAGE, name)
        try:
            yield host_pid(name)
        finally:
            self.ctr("task", "delete", "--force", name)
            self.ctr("container", "delete", name)

    def ctr(self, *arguments: str) -> str:
        """Run containerd's own client; returns what it prints."""
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def serves_cri(self) -> bool:
        """Whether it answers to the CRI by now."""
        try:
            self._cri.image_id(IMAGE)
        except grpc.RpcError:
            return False
        return True

    def clean_up(self) -> None:
        """Remove what pods leave on the host when their containerd was killed."""
        remove_cgroups(self._started, CGROUPS)


def _encoded(labels: Mapping[str, str]) -> dict[str, bytes]:
    return {key: value.encode() for key, value in labels.items()}


@contextmanager
def running(disabled: Sequence[str] = ()) -> Iterator[Containerd]:
    """A containerd without these plugins, and nothing left of it in the end."""
    require(PROGRAMS, PACKAGES)
    # Not pytest's own directory: a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="containerd-") as scratch:
        home = Path(scratch)
        socket = home / "containerd.sock"
        config = home / "config.toml"
        config.write_text(
            _CONFIG.format(home=home, cri=CRI_PLUGIN, image=IMAGE, disabled=json.dumps([*disabled]))
        )
        options = [("grpc.default_authority", "localhost")]
        with grpc.insecure_channel(f"unix:{socket}", options=options) as channel:
            runtime = Containerd(socket, channel)
            try:
                with Enclosure(["containerd", "--config", str(config)], home) as enclosure:
                    enclosure.wait_for_socket(socket)
                    yield runtime
            finally:
                runtime.clean_up()


@pytest.fixture(scope="session")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """A containerd with its CRI plugin and the image. Tests remove their pods."""
    with running() as runtime:
        wait_until(runtime.serves_cri)
        archive = build(tmp_path_factory.mktemp("containerd") / "image.tar")
        runtime.ctr("images", "import", str(archive))
        yield runtime
