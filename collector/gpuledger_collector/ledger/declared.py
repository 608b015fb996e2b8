"""Files in which people declare things: YAML or CSV, read as text with line numbers.

Values stay text as written, so that a team called `no` or a model `1.10` is what it says. Every
problem of a file is collected before any is reported.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

MAX_BYTES = 1 << 20
"""Of a file. Larger ones are machine-made and belong into several."""

MAX_ENTRIES = 10_000


class DeclarationError(ValueError):
    """A file that cannot be taken. `problems`: one line each, `FILE:LINE: what; remedy`."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(slots=True)
class Problems:
    """What is wrong with one file, in the order of its lines."""

    path: Path
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, what: str) -> None:
        """Note `what; remedy` about a line (the first is 1; 0 for the file as a whole)."""
        self.found.append((line, what))

    def raise_any(self) -> None:
        """Raise DeclarationError if anything was noted."""
        if self.found:
            found = sorted(self.found, key=lambda item: item[0])
            raise DeclarationError(
                f"{self.path}:{line}: {what}" if line else f"{self.path}: {what}"
                for line, what in found
            )


@dataclass(frozen=True, slots=True)
class Text:
    """A value as written, and its line."""

    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One declaration: its first line and its fields; fields without a value are left out."""

    line: int
    fields: dict[str, Text]


def read_text(path: Path, problems: Problems) -> str:
    """The file's text. Raises DeclarationError for what is no text of a sane size."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        problems.add(0, f"cannot be read: {error.strerror}; give a file that can be read")
        problems.raise_any()
    if len(raw) > MAX_BYTES:
        problems.add(0, f"is larger than {MAX_BYTES >> 20} MiB; split it")
        problems.raise_any()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problems.add(line, "is not UTF-8 text; save the file as UTF-8")
        problems.raise_any()
    for number, line_text in enumerate(text.split("\n"), 1):
        if any(unicodedata.category(c) == "Cc" and c not in "\t\r" for c in line_text):
            problems.add(number, "holds a control character; delete it")
    problems.raise_any()
    return text
