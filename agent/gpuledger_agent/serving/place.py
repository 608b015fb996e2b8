"""Where a workload's metrics are, as a label, a variable or a rule says: `8000`, `8000/metrics`."""

from __future__ import annotations

from dataclasses import dataclass

from gpuledger_agent.attribution.labels import shown
from gpuledger_agent.serving.families import is_path

OFF = frozenset({"off", "none", "no", "false"})
"""Values that say: leave it alone."""


class PlaceError(ValueError):
    """What is said names no place; says what to write."""


@dataclass(frozen=True, slots=True)
class Place:
    """A port and a path, each as far as it is said. Never a host: that is the workload's own."""

    port: int | None = None
    path: str = ""
    off: bool = False


def place(text: str) -> Place:
    """What such a value says. Raises PlaceError."""
    if text.casefold() in OFF:
        return Place(off=True)
    digits, slash, rest = text.removeprefix(":").partition("/")
    port = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 6 else 0
    path = slash + rest
    if (digits and not 0 < port < 1 << 16) or (path and not is_path(path)) or not (digits or path):
        raise PlaceError(f"{shown(text)!r} is no place; write PORT, PORT/PATH, /PATH or off")
    return Place(port or None, path)
