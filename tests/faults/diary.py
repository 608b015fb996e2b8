"""What an agent's process notes beside its work, so that the harness knows what it saw and kept.

Everything is handed to the kernel at once: what a process noted before kill -9 stands there.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpuledger_proto.v1 import telemetry_pb2 as wire

_READ = struct.Struct("<Hd")
_TAPED = struct.Struct("<II")

TAPE_EVERY = 2
"""Of so many appends one is kept whole, to be replayed."""


class Diary:
    """Written by one life of an agent. Used by several threads."""

    def __init__(self, directory: Path, life: int) -> None:
        self._reads = _opened(directory / f"{life:04}.reads")
        self._notes = _opened(directory / f"{life:04}.notes")
        self._tape = _opened(directory / f"{life:04}.tape")

    def read(self, gpu: int, at: float) -> None:
        """A GPU is being read."""
        os.write(self._reads, _READ.pack(gpu, at))

    def note(self, **facts: Any) -> None:
        """Something happened."""
        os.write(self._notes, json.dumps(facts, separators=(",", ":")).encode() + b"\n")

    def tape(self, append: int, batches: Iterable[wire.Batch]) -> None:
        """Keep the batches of an append, now and then."""
        if append % TAPE_EVERY == 0:
            for batch in batches:
                body = batch.SerializeToString()
                os.write(self._tape, _TAPED.pack(append, len(body)) + body)


@dataclass(slots=True)
class Append:
    """What one append to the spool held: windows as (GPU, start), and starts of health rows.

    `safe`: all of it was on disk while the agent still lived.
    """

    rows: int
    until: int
    windows: list[tuple[int, int]]
    health: list[int]
    safe: bool = False


@dataclass(slots=True)
class Life:
    """One agent process, from its start to its death, as its diary tells it.

    `resume`: time before this it did not measure, seconds since the epoch.
    `reads`: when each GPU was read, by the agent's clock. `ended`: it ended in its own order.
    `rows_dropped`: rows of which it said that it gave them up.
    """

    number: int
    resume: float = 0.0
    drains: bool = False
    ended: bool = False
    rows_dropped: int = 0
    appends: dict[int, Append] = field(default_factory=dict)
    reads: dict[int, list[float]] = field(default_factory=dict)


def lives(directory: Path) -> list[Life]:
    """All lives of one host, in their order."""
    found = []
    for path in sorted(directory.glob("*.notes")):
        life = noted_life(directory, int(path.stem))
        for gpu, at in _records(path.with_suffix(".reads")):
            life.reads.setdefault(gpu, []).append(at)
        found.append(life)
    return found


def noted_life(directory: Path, number: int) -> Life:
    """A life by its notes alone, without its readings."""
    life = Life(number)
    path = directory / f"{number:04}.notes"
    for note in _notes(path) if path.exists() else ():
        _tell(life, note)
    return life


def last_note(directory: Path, life: int) -> dict[str, Any]:
    """The newest note of a life, empty if there is none."""
    path = directory / f"{life:04}.notes"
    note: dict[str, Any] = {}
    if path.exists():
        for note in _notes(path):  # noqa: B007  # the last
            pass
    return note


def taped(directory: Path) -> list[tuple[int, int, wire.Batch]]:
    """What was kept for replay: life, append, batch."""
    found = []
    for path in sorted(directory.glob("*.tape")):
        data, at = path.read_bytes(), 0
        while at + _TAPED.size <= len(data):
            append, size = _TAPED.unpack_from(data, at)
            at += _TAPED.size + size
            if at <= len(data):
                found.append((int(path.stem), append, wire.Batch.FromString(data[at - size : at])))
    return found


def windows_of(batches: Iterable[wire.Batch]) -> list[tuple[int, int]]:
    """GPU windows as (GPU, start)."""
    return [
        (gpu, start)
        for batch in batches
        for gpu, start in zip(batch.gpu_usage.gpu_index, batch.gpu_usage.window_start, strict=True)
    ]


def packed(windows: Iterable[tuple[int, int]]) -> dict[str, str]:
    """Windows by their start, the GPUs as bits of a number."""
    masks: dict[int, int] = {}
    for gpu, start in windows:
        masks[start] = masks.get(start, 0) | 1 << gpu
    return {str(start): f"{mask:x}" for start, mask in masks.items()}


def unpacked(windows: dict[str, str]) -> list[tuple[int, int]]:
    """The reverse of `packed`."""
    return [
        (gpu, int(start))
        for start, mask in windows.items()
        for gpu in range(int(mask, 16).bit_length())
        if int(mask, 16) >> gpu & 1
    ]


def _tell(life: Life, note: dict[str, Any]) -> None:
    match note["event"]:
        case "begin":
            life.resume, life.drains = note["resume"], not note["gpus"]
        case "append":
            life.appends[note["n"]] = Append(
                note["rows"], note["until"], unpacked(note["windows"]), note["health"]
            )
        case "done":
            life.rows_dropped = note["dropped"]
            if note["on_disk"]:  # and with it what waited in memory
                for append in life.appends.values():
                    append.safe = True
        case "end":
            life.ended = True


def _notes(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield json.loads(line)


def _records(path: Path) -> Iterator[tuple[int, float]]:
    data = path.read_bytes() if path.exists() else b""
    yield from _READ.iter_unpack(data[: len(data) // _READ.size * _READ.size])


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
