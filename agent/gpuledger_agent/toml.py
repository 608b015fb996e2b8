"""TOML of files that others may have written: bounded in time and memory."""

from __future__ import annotations

import re
import tomllib
from typing import Any

MAX_DOTS = 10_000_000
"""Sum of the squares of the dots on each line, quoted text left out. tomllib keeps all beginnings
of a dotted key: one of 16,000 parts takes a gibibyte."""

_QUOTED = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'")


def loads(text: str) -> dict[str, Any]:
    """What the text says. Raises ValueError."""
    if sum(line.count(".") ** 2 for line in _QUOTED.sub("", text).split("\n")) > MAX_DOTS:
        raise ValueError("keys of too many parts")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
