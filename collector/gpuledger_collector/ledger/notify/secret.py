"""Secrets: read from their files whenever they are needed, so that they can be renewed there."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from gpuledger_collector.ledger.notify.fault import SendError

MAX_BYTES = 4096


def read_lines(path: Path) -> list[str]:
    """The lines of a secret's file that are not empty, at least one. Raises SendError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SendError("secret", f"{path}: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise SendError("secret", f"{path}: is larger than {MAX_BYTES} bytes")
    # What a line holds goes into headers: visible ASCII, with spaces inside.
    lines = [line.strip() for line in raw.decode("latin-1").splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        raise SendError("secret", f"{path}: is empty")
    if not all(line.isascii() and line.isprintable() for line in lines):
        raise SendError("secret", f"{path}: holds more than printable ASCII")
    return lines


def read(path: Path) -> str:
    """The one line of a secret's file. Raises SendError."""
    lines = read_lines(path)
    if len(lines) > 1:
        raise SendError("secret", f"{path}: has {len(lines)} lines, and must have one")
    return lines[0]


def read_keys(path: Path) -> list[bytes]:
    """Signing keys, a line each (`whsec_` and base64), the newest first. Raises SendError."""
    keys = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            key = base64.b64decode(line.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            key = b""
        if not line.startswith("whsec_") or not 24 <= len(key) <= 64:
            raise SendError(
                "secret", f"{path}: line {number} is no whsec_ and base64 of 24 to 64 bytes"
            )
        keys.append(key)
    return keys
