"""A Debian that boots with systemd, and packages that it can install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.runtimes.enclosure import require
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
SUITE = "bookworm"
"""The Debian whose Python has the minor version that the project begins with."""

INCLUDED = "systemd,systemd-sysv,dbus,python3,libstdc++6,init-system-helpers"
_CLEAN = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")


class Machine:
    """A machine on this kernel and network, with a root directory of its own: a context manager.

    It is a container of systemd-nspawn that registers nowhere: the host need not run systemd.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._log = root.with_suffix(".log")

    def __enter__(self) -> Self:
        command = ["systemd-nspawn", "--directory", str(self.root), "--boot", "--register=no",
                   "--keep-unit", "--quiet", "--console=pipe", "--link-journal=no",
                   f"--machine=gpuledger-{os.getpid()}"]  # fmt: skip
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            wait_until(self._up, 120)
        except AssertionError:
            pytest.fail(f"it did not boot:\n{self._log.read_text(errors='replace')[-2000:]}")
        return self

    def __exit__(self, *_: object) -> None:
        self._nspawn.kill()  # and its child, the machine's first process, with it
        self._nspawn.wait()

    def _up(self) -> bool:
        assert self._nspawn.poll() is None, "it ended"
        if not self._first():
            return False
        state = self._enter("systemctl", "is-system-running").stdout.strip()
        return state in {"running", "degraded"}

    def _first(self) -> str:
        """Pid of the machine's first process; "" before there is one."""
        pid = self._nspawn.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()

    def _command(self, *command: object) -> list[str]:
        return ["nsenter", "--all", "--target", self._first(), *_CLEAN, *map(str, command)]

    def _enter(self, *command: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(*command), capture_output=True, text=True, check=False, timeout=120
        )

    def run(self, *command: object) -> str:
        """What the command prints; fail if it fails."""
        done = self._enter(*command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.strip()

    def says(self, *command: object) -> str:
        """What it prints, whether or not it fails."""
        return self._enter(*command).stdout.strip()

    def start(self, *command: object) -> subprocess.Popen[str]:
        """A process that goes on, and whose first line is read by the caller."""
        return subprocess.Popen(self._command(*command), stdout=subprocess.PIPE, text=True)

    def install(self, package: Path) -> None:
        """As an administrator does who keeps the settings that are there."""
        shutil.copy(package, self.root / "root")
        self.run("dpkg", "--force-confold", "--install", f"/root/{package.name}")

    def shows(self, unit: str, field: str) -> str:
        return self.run("systemctl", "show", "--property", field, "--value", unit)

    def write(self, path: str, text: str) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with both packages in two revisions, 1 and 2."""
    require(("dpkg-deb", "strip"), "dpkg binutils")
    out = tmp_path_factory.mktemp("packages")
    build = [sys.executable, str(ROOT / "packaging/deb/build.py"), str(out)]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(build, env=env, check=True, capture_output=True, text=True)
    for first in list(out.glob("*-1_*.deb")):
        tree = out / "tree"
        subprocess.run(["dpkg-deb", "-R", first, tree], check=True)
        control = tree / "DEBIAN/control"
        control.write_text(control.read_text().replace("-1\n", "-2\n", 1))
        second = out / first.name.replace("-1_", "-2_")
        subprocess.run(["dpkg-deb", "-Znone", "--build", tree, second], check=True)
        shutil.rmtree(tree)
    return out


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root directory of a fresh Debian."""
    require(("mmdebstrap", "systemd-nspawn", "nsenter"), "mmdebstrap systemd-container")
    root = tmp_path_factory.mktemp("debian") / "root"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={INCLUDED}", SUITE, root],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    minor = f"python3.{sys.version_info[1]}"
    if not (root / "usr/bin" / minor).exists():
        pytest.skip(f"{SUITE} has no {minor}, for which packages are built here: use its Python")
    return root


@pytest.fixture
def machine(debian: Path, tmp_path: Path) -> Iterator[Machine]:
    """A fresh Debian that can be booted."""
    root = tmp_path / "machine"
    subprocess.run(["cp", "--archive", "--reflink=auto", debian, root], check=True)
    yield Machine(root)
    shutil.rmtree(root)
