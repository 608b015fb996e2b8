"""A disk so small that a test can fill it, write-protect it and free it again: a tmpfs mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A mounted file system of its own at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    @property
    def full(self) -> bool:
        """Whether it was filled, and not freed since."""
        return self._ballast.exists()

    @property
    def protected(self) -> bool:
        """Whether it refuses all writes."""
        return bool(os.statvfs(self.path).f_flag & os.ST_RDONLY)

    def fill(self, leave: int = 0) -> None:
        """Leave so many bytes free, and no more."""
        with self._ballast.open("ab") as file:
            size = 1 << 16
            while size:
                try:
                    os.write(file.fileno(), bytes(size))
                except OSError:
                    size //= 2
            file.truncate(max(file.tell() - leave, 0))

    def free(self) -> None:
        """Give back what `fill` took."""
        self._ballast.unlink(missing_ok=True)

    def protect(self, how: str) -> None:
        """`ro`: refuse all writes, as a kernel does after errors; `rw`: take them again."""
        subprocess.run(["mount", "-o", f"remount,{how}", self.path], check=True)


@contextmanager
def mounted_disk(path: Path, mib: int) -> Iterator[SmallDisk | None]:
    """A disk of so many MiB, mounted here; None where mounting is not allowed."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "small", str(path)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@contextmanager
def small_disk(path: Path, mib: int) -> Iterator[SmallDisk]:
    """A disk of so many MiB, mounted here; skips where mounting is not allowed."""
    with mounted_disk(path, mib) as disk:
        if disk is None:
            pytest.skip("a disk to fill is a tmpfs mount, which takes root")
        yield disk
