"""One agent a spool: two would measure the same windows twice, and delete each other's."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class SpoolInUse(OSError):  # noqa: N818  # a refusal, not an accident
    """Another process holds the spool."""


class SpoolLock:
    """Held from `take` until `release`, or until the process ends, however it does.

    It lies on a file beside the spool, for the spool itself may be set aside and replaced. While
    that file cannot be made it lies on their directory: a write-protected disk keeps out a second
    agent too.
    """

    def __init__(self, spool: Path | None) -> None:
        """Of this spool; one in memory needs none."""
        self._path = spool and spool.with_name(spool.name + ".lock")
        self._held: dict[Path, int] = {}

    def take(self) -> None:
        """Take it, or keep it. Raises SpoolInUse, or OSError if there is nothing to lock."""
        if self._path is None or self._path in self._held:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path, descriptor = self._path, _opened(self._path)
        except OSError as error:
            path = self._path.parent
            if path in self._held:
                return
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                raise error from None
        self._held[path] = descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            if isinstance(error, BlockingIOError):
                raise SpoolInUse("another agent uses it") from None
            raise

    def release(self) -> None:
        """Let others take it."""
        while self._held:
            os.close(self._held.popitem()[1])


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        # Reading is enough to lock what is there.
        return os.open(path, os.O_RDONLY)
