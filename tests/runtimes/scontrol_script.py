"""A shell script that stands for scontrol: with what it answers, or how it fails."""

from __future__ import annotations

from pathlib import Path


def put(directory: Path, script: str) -> Path:
    """Write the script as `scontrol` into a directory, which a test has as its PATH."""
    file = directory / "scontrol"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file
