"""Tables of a TOML file: typed values out of them, and what is wrong, with line numbers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpuledger_collector.ledger.declared import Problems

_HEADER = re.compile(r"""\s*(\[\[?)([\w\s."'-]+)\]""", re.ASCII)
_KEY = re.compile(r"""\s*["']?([\w-]+)["']?\s*=""", re.ASCII)


def lines_of(text: str) -> dict[str, dict[str, int]]:
    """Where tables and their keys stand: place -> key -> line, the header's under "".

    Places are `[receiver.chat]`, `[[route]] 2`, and "" for what stands before all tables. What
    is written in an unusual way is not found.
    """
    place, found, counts = "", {"": {"": 0}}, Counter[str]()
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            name = re.sub(r"[\s\"']", "", header[2])
            counts[name] += 1
            place = f"[{name}]" if header[1] == "[" else f"[[{name}]] {counts[name]}"
            found[place] = {"": number}
        elif key := _KEY.match(line):
            found[place].setdefault(key[1], number)
    return found


@dataclass(slots=True)
class Table:
    """`place` is what the file calls it: [receiver.chat]. `end` notes what nobody asked for.

    `lines` says where its keys stand, "" where it begins.
    """

    place: str
    values: Mapping[str, object]
    problems: Problems
    lines: Mapping[str, int] = field(default_factory=dict)
    _asked: list[str] = field(default_factory=list)

    def fault(self, key: str, what: str) -> None:
        """Note `what; remedy` about a key, or "" for all of it."""
        line = self.lines.get(key, self.lines.get("", 0))
        self.problems.add(line, f"{f'{self.place} {key}'.strip()}: {what}")

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        """One line of text."""
        value = self._get(key)
        if value is None:
            if required:
                self.fault(key, "is missing; write it")
            return default
        if not isinstance(value, str) or not value.isprintable() or not value.strip():
            self.fault(key, "is no line of text; write it in quotes")
            return default
        return value

    def choice(self, key: str, default: str, choices: Sequence[str]) -> str:
        """One of these."""
        value = self.text(key, default)
        if value not in choices:
            self.fault(key, f"{value!r} is not known; take one of {', '.join(choices)}")
            return default
        return value

    def texts(self, key: str, default: Sequence[str] | None = ()) -> tuple[str, ...]:
        """A list of lines of text. Without a default it must be there."""
        value = self._get(key)
        if value is None:
            if default is None:
                self.fault(key, "is missing; write a list, [] for nobody")
            return tuple(default or ())
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            self.fault(key, 'is no list of texts; write ["one", "another"]')
            return ()
        return tuple(value)

    def number(self, key: str, default: float, lowest: float, highest: float) -> float:
        """A number in this range."""
        value = self._get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fault(key, "is not a number; write it in digits")
        elif not math.isfinite(value) or not lowest <= value <= highest:
            self.fault(key, f"is out of range; take {lowest:g} to {highest:g}")
        else:
            return float(value)
        return default

    def whole(self, key: str, default: int, lowest: int, highest: int) -> int:
        """A whole number in this range."""
        value = self.number(key, default, lowest, highest)
        if value != int(value):
            self.fault(key, "is not a whole number")
        return int(value)

    def optional_file(self, key: str) -> Path | None:
        """The path of a file, or None."""
        value = self.text(key)
        return Path(value) if value else None

    def file(self, key: str, *, required: bool) -> Path:
        """The path of a file."""
        return Path(self.text(key, required=required))

    def end(self) -> None:
        """Note the keys that nobody asked for."""
        for key in sorted(self.values.keys() - set(self._asked)):
            self.fault(key, f"is no setting; take one of {', '.join(sorted(self._asked))}")

    def _get(self, key: str) -> object:
        self._asked.append(key)
        return self.values.get(key)
