"""What the tests ask of a container runtime that speaks the Docker API."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.runtimes.enclosure import Enclosure, host_pid, remove_cgroups
from tests.runtimes.image import IMAGE, build

Kind = TypeVar("Kind", bound="Runtime")


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class Runtime:
    """A daemon that has the image. `socket` is where it listens, `created` are container ids."""

    cgroups: tuple[str, ...] = ("docker",)
    """Groups that the daemon makes for all containers, innermost first."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.created: list[str] = []

    def load(self, image: Path) -> None:
        """Take an image's tar in."""
        self._post("/images/load", image.read_bytes(), "application/x-tar")

    def create(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
        **host_config: Any,
    ) -> str:
        """Id of a new container that does not run yet. `host_config` as the API has it."""
        limits = [{"Name": limit, "Soft": 1024, "Hard": 1024} for limit in ("nofile", "nproc")]
        body = {
            "Image": IMAGE,
            "Labels": dict(labels or {}),
            "Env": [f"{variable}={value}" for variable, value in (env or {}).items()],
            "Cmd": list(command) or None,
            # Podman would raise limits otherwise, which root in a sandbox may not do.
            "HostConfig": {"NetworkMode": "none", "Ulimits": limits, **host_config},
        }
        created = self._post(f"/containers/create?name={name}", json.dumps(body).encode())
        self.created.append(created["Id"])
        return created["Id"]

    def start(self, name: str) -> None:
        """Start a container."""
        self._post(f"/containers/{name}/start")

    def run(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        **host_config: Any,
    ) -> tuple[str, int]:
        """Id and host pid of a new container, which sleeps until it is stopped."""
        container_id = self.create(name, labels, env, **host_config)
        self.start(name)
        return container_id, host_pid(container_id)

    def stop(self, name: str) -> None:
        """End a container's process; the container stays."""
        self._post(f"/containers/{name}/kill")
        self._post(f"/containers/{name}/wait")

    def rename(self, name: str, new: str) -> None:
        """Give a container another name."""
        self._post(f"/containers/{name}/rename?name={new}")

    def remove(self, name: str) -> None:
        """End a container and remove it."""
        self._ask("DELETE", f"/containers/{name}?force=1")

    @contextmanager
    def prepared(self, name: str, *args: Any, **kwargs: Any) -> Iterator[str]:
        """`create`, and `remove` in the end."""
        container_id = self.create(name, *args, **kwargs)
        try:
            yield container_id
        finally:
            self.remove(container_id)

    @contextmanager
    def container(self, name: str, *args: Any, **kwargs: Any) -> Iterator[tuple[str, int]]:
        """`run`, and `remove` in the end."""
        with self.prepared(name, *args, **kwargs) as container_id:
            self.start(container_id)
            yield container_id, host_pid(container_id)

    def _post(self, target: str, body: bytes = b"", kind: str = "application/json") -> Any:
        return self._ask("POST", target, body, kind)

    def _ask(
        self, method: str, target: str, body: bytes = b"", kind: str = "application/json"
    ) -> Any:
        connection = _Connection(self.socket)
        try:
            connection.request(method, f"/v1.41{target}", body, {"Content-Type": kind})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        assert response.status < 300, f"{method} {target}: {response.status} {answer!r}"
        return json.loads(answer) if answer.startswith(b"{") else None


@contextmanager
def started(
    runtime: Kind, command: Sequence[str], directory: Path, setup: str = ""
) -> Iterator[Kind]:
    """The runtime whose daemon this command starts, with the image. It leaves nothing behind."""
    try:
        with Enclosure(command, directory, setup) as enclosure:
            enclosure.wait_for_socket(runtime.socket)
            runtime.load(build(directory / "image.tar"))
            yield runtime
    finally:
        remove_cgroups(runtime.created, runtime.cgroups)
