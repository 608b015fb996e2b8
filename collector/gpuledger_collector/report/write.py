"""Write a report: all of it or nothing."""

from __future__ import annotations

from pathlib import Path

import click

from gpuledger_agent.settings_file import Refused
from gpuledger_collector import whole_file


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
            whole_file.write(target, text.encode(), 0o666)
    except OSError as error:
        raise Refused(f"--output {path}: {error.strerror}") from error
