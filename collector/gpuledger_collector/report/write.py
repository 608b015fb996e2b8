"""Write a report: all of it or nothing."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import click

from gpuledger_agent.options import Refused


def write(text: str, path: Path | None) -> None:
    """Put text into a file, or on stdout. Raises Refused.

    A reader of the file sees the old one or the new one, whole; a link is followed, and what is no
    file (a pipe, /dev/stdout) is written to as it is.
    """
    if path is None:
        click.echo(text, nl=False)
        return
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            path.write_text(text, encoding="utf-8")
        else:
            _replace(target, text)
    except OSError as error:
        raise Refused(f"--output {path}: {error.strerror}") from error


def _replace(target: Path, text: str) -> None:
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
