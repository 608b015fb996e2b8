"""Podman with a store of its own, and pods of Kubernetes as it would run their only container."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kubernetes.rendering import Object


class Podman:
    """Runs the command, as root. `folder` gets its store, which `remove` gives up."""

    def __init__(self, folder: Path) -> None:
        store = ("--root", folder / "store", "--runroot", folder / "run")
        self._overlay = folder / "store" / "overlay"
        options = ("--storage-driver=overlay", "--cgroup-manager=cgroupfs", "--runtime=runc")
        self._command = ["podman", *map(str, store), *options]

    @property
    def command(self) -> str:
        """What begins each command line."""
        return shlex.join(self._command)

    def __call__(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run podman with these arguments; fail with what it says."""
        done = subprocess.run(
            [*self._command, *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
        )
        assert not check or done.returncode == 0, f"podman {arguments}: {done.stderr[-4000:]}"
        return done

    def inspect(self, image: str) -> Any:
        """What an image says of itself."""
        return json.loads(self("image", "inspect", image).stdout)[0]

    def run(
        self, image: str, *command: str, options: Sequence[object] = (), check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a container to its end."""
        return self("run", "--rm", *_LIMITS, *options, image, *command, check=check)

    @contextmanager
    def running(
        self, name: str, image: str, *command: str, options: Sequence[object]
    ) -> Iterator[None]:
        """A container that runs meanwhile; ended by SIGTERM, as Kubernetes does it."""
        self("run", "--detach", f"--name={name}", *_LIMITS, *options, image, *command)
        try:
            yield
        finally:
            self("rm", "--force", "--time=20", name)

    def log(self, name: str) -> str:
        """What a container has said so far."""
        done = self("logs", name)
        return done.stdout + done.stderr

    def health(self, name: str, image: str) -> subprocess.CompletedProcess[str]:
        """The image's own health check, made in this container."""
        kind, *command = self.inspect(image)["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self("exec", name, *command, check=False)

    def remove(self) -> None:
        """Give up the store. Not by `system reset`, which does not keep to it."""
        self("rmi", "--all", "--force", check=False)
        subprocess.run(["umount", self._overlay], check=False, capture_output=True)


# Podman would raise limits otherwise, which root in a sandbox may not do; and health checks want a
# systemd to start them.
_LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--no-healthcheck")


def as_podman(pod: Object, files: Mapping[str, Path], env: Mapping[str, str]) -> list[str]:
    """Options of `podman run` that give a container what this pod has.

    `files` has a directory for each of its volumes; `env` comes before the pod's own, of which
    those that are fields of the pod are left out.
    """
    (container,) = pod["containers"]
    context = pod.get("securityContext", {}) | container["securityContext"]
    own = {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}
    options = [f"--env={name}={value}" for name, value in {**own, **env}.items()]
    for mount in container["volumeMounts"]:
        mode = "ro" if mount.get("readOnly") else "rw"
        spread = "rslave" if mount.get("mountPropagation") == "HostToContainer" else "rprivate"
        options.append(f"--volume={files[mount['name']]}:{mount['mountPath']}:{mode},{spread}")
    options.append(f"--user={context['runAsUser']}:{context['runAsGroup']}")
    if "fsGroup" in context:
        options.append(f"--group-add={context['fsGroup']}")
    options += [f"--cap-drop={one}" for one in context["capabilities"]["drop"]]
    options += [f"--cap-add={one}" for one in context["capabilities"].get("add", ())]
    if context["readOnlyRootFilesystem"]:
        options += ["--read-only", "--read-only-tmpfs=false"]
    if not context["allowPrivilegeEscalation"]:
        options.append("--security-opt=no-new-privileges")
    if pod.get("hostPID"):
        options.append("--pid=host")
    return options
