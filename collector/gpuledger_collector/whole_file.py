"""Files that are there whole or not at all, whenever we are stopped."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write(path: Path, content: bytes, mode: int) -> None:
    """Put the content in place at once; a reader sees the old file or the new one. Raises OSError.

    It is never open to more than `mode` and the umask say. A link at `path` is replaced.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
