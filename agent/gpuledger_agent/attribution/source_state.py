"""How a source fares, for metrics and `check`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SourceState:
    """How a source fares. `present`: this host has it; `up`: it listed its workloads lately.

    `reason` says why it is not up, or why it is not present though something is in its place.
    """

    present: bool = False
    up: bool = False
    queries: int = 0
    failures: int = 0
    workloads: int = 0
    reason: str = ""
