"""A node to run pods on: a network of its own, where the cluster's names lead to this machine."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from gpuledger_agent.serving import network
from gpuledger_collector.store.client import StoreConfig
from tests.container.podman import Podman, as_podman
from tests.kubernetes.rendering import Object
from tests.kubernetes.volumes import files
from tests.serving.processes import LOOKALIKE
from tests.waiting import wait_until

NAMES = ("gpuledger-collector.gpuledger.svc", "clickhouse.clickhouse.svc")
NOBODY = 65532


class Node:
    """Where pods of a rendered variant run, next to one another."""

    def __init__(self, podman: Podman, folder: Path, pid: int) -> None:
        self._podman = podman
        self._folder = folder
        folder.mkdir(parents=True)
        self._pid = pid
        self._password = b""
        hosts = "".join(f"127.0.0.1 {name}\n" for name in ("localhost", *NAMES))
        (folder / "hosts").write_text(hosts)

    def options(self, variant: str, pod: Object, env: Mapping[str, str]) -> list[str]:
        """Options of `podman run` for a container of this pod on this node."""
        folder = self._folder / secrets.token_hex(4)
        volumes = {
            one["name"]: _filled(folder / one["name"], one, self._files(variant, one))
            for one in pod["volumes"]
        }
        return [
            *as_podman(pod, volumes, env),
            f"--network=ns:/proc/{self._pid}/ns/net",
            f"--volume={self._folder / 'hosts'}:/etc/hosts:ro",
        ]

    @contextmanager
    def clickhouse(self, store: StoreConfig) -> Iterator[None]:
        """The store, at the address that the settings have, by its own password."""
        self._password = store.password.encode()
        target = ("127.0.0.1", urlsplit(store.url).port or 0)
        proc = Path("/proc")
        inside = network.namespace(self._pid, proc)
        listener = network.within(self._pid, inside, proc, socket.socket)
        with listener:
            listener.bind(("127.0.0.1", 8123))
            listener.listen()
            threading.Thread(target=_forward, args=(listener, target), daemon=True).start()
            yield
            listener.shutdown(socket.SHUT_RDWR)

    def _files(self, variant: str, volume: Object) -> dict[str, bytes]:
        own = {"password": self._password} if self._password else {}
        return {name: own.get(name, content) for name, content in files(variant, volume).items()}


@contextmanager
def node(podman: Podman, folder: Path) -> Iterator[Node]:
    """A node, as long as it is wanted."""
    with own_network("sleep", "600") as pid:
        yield Node(podman, folder, pid)


@contextmanager
def own_network(*command: str, session: bool = False) -> Iterator[int]:
    """Pid of a command in a network of its own, whose loopback is up."""
    script = 'ip link set lo up && exec "$@"'
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", script, "sh", *command],
        stdout=subprocess.DEVNULL,
        start_new_session=session,
    ) as process:
        try:
            wait_until(lambda: _runs(process.pid, command[0]))
            yield process.pid
        finally:
            process.kill()


def _filled(folder: Path, volume: Object, contents: Mapping[str, bytes]) -> Path:
    """A directory with these files, as the kubelet would make it for the volume's pod."""
    folder.mkdir(parents=True)
    mode = volume.get("secret", {}).get("defaultMode", 0o644)
    for name, content in contents.items():
        file = folder / name
        file.write_bytes(content)
        file.chmod(mode)
        if mode & 0o040:
            os.chown(file, 0, NOBODY)
    return folder


def _forward(listener: socket.socket, target: tuple[str, int]) -> None:
    with ExitStack() as stack:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = stack.enter_context(socket.create_connection(target))
            stack.enter_context(near)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


def _runs(pid: int, program: str) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0] == program


@contextmanager
def worker() -> Iterator[int]:
    """Pid of a process of another user than root, who says whose it is."""
    setpriv = ("setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "--pdeathsig=KILL")
    env = os.environ | {"GPULEDGER_TEAM": "search"}
    with subprocess.Popen([*setpriv, "sleep", "600"], env=env) as process:
        try:
            wait_until(lambda: _runs(process.pid, "sleep"))
            yield process.pid
        finally:
            process.kill()


@contextmanager
def inference_server() -> Iterator[int]:
    """Pid of a server like vLLM, in a network of its own."""
    with own_network(sys.executable, str(LOOKALIKE), "8000", session=True) as pid:
        yield pid
