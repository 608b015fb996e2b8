"""The file of settings that a command may be given, and how a setting is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gpuledger_agent import toml

FILE_LIMIT = 1 << 20
"""Bytes of a settings file; ours have twenty lines."""


class Refused(click.ClickException):
    """A setting that cannot work: one line, exit code 2."""

    exit_code = 2


def read_toml(path: Path) -> dict[str, Any]:
    """What a settings file holds. Raises Refused."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_LIMIT + 1)
        if len(text) > FILE_LIMIT:
            raise Refused(f"{path}: larger than {FILE_LIMIT} bytes; this is no settings file")
        return toml.loads(text.decode("utf-8"))
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; name a file that can be read") from error
    except ValueError as error:
        raise Refused(f"{path}: {error}") from error
