"""What is read from files that may be replaced while we run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

_Signature = tuple[tuple[int, ...] | None, ...]


class FileRefused(Exception):  # noqa: N818  # as Refused is
    """A file that cannot be read, or is not what it should be; says so and the remedy in a line."""


class Followed(Generic[T]):
    """Reads `paths` with `load` now, and again whenever `refresh` finds that they were replaced.

    Raises what `load` raises, which is FileRefused, when it is made. Later such a file is logged
    once, and what was read before stays. Any thread may use it.
    """

    def __init__(self, name: str, paths: Sequence[Path], load: Callable[[], T]) -> None:
        self._name = name
        self._paths = tuple(paths)
        self._load = load
        self._lock = threading.Lock()
        self._seen = self._signature()
        self._refused = False
        self.value = load()

    def refresh(self) -> bool:
        """Look at the files, which takes microseconds; return whether `value` is another now."""
        with self._lock:
            seen = self._signature()
            if seen == self._seen:
                return False
            try:
                value = self._load()
            except FileRefused as refused:
                self._seen = seen
                self._refuse(refused)
                return False
            if self._signature() != seen:
                return False  # somebody is still at it: the next look finds all of it
            self._seen = seen
            self._refused = False
            if value == self.value:
                return False
            self.value = value
        log.info("event=files_renewed what=%s", self._name)
        return True

    def _refuse(self, refused: FileRefused) -> None:
        if not self._refused:
            self._refused = True
            log.error(
                "event=files_not_renewed what=%s reason=%r what was read before stays in use",
                *(self._name, str(refused)),
            )

    def _signature(self) -> _Signature:
        """Another one for other files. The time of change tells of a new owner or mode, too."""
        return tuple(map(_stat, self._paths))


def _stat(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def read_small(path: Path, limit: int = 1 << 20) -> bytes:
    """The whole of a file. Raises FileRefused if that is not possible, or beyond `limit` bytes."""
    try:
        with path.open("rb") as file:
            found = file.read(limit + 1)
    except OSError as error:
        raise FileRefused(f"{path}: {error.strerror}; name a file that can be read") from error
    if len(found) > limit:
        raise FileRefused(f"{path}: larger than {limit} bytes; this is no such file")
    return found
