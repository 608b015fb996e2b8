"""What a spool says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gpuledger_agent.spool_lock import SpoolInUse


class SpoolError(Exception):
    """The spool cannot be opened; says where and what to do in one line."""


@dataclass(frozen=True, slots=True)
class SpoolState:
    """What waits in the spool, and what it had to give up since it was opened.

    `on_disk` is False while the disk takes nothing and batches wait in memory.
    """

    batches: int
    bytes: int
    rows_dropped: int
    on_disk: bool = True


def refusal(path: Path | None, error: Exception) -> SpoolError:
    """Why this spool cannot be opened, and what to do."""
    if isinstance(error, SpoolInUse):
        remedy = "stop that one, or give this one a file of its own (--spool)"
    else:
        remedy = "give the agent a directory it can write (--spool)"
    return SpoolError(f"spool {path}: {error}; {remedy}")
