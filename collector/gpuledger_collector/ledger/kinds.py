"""Kinds of fields: the limits that the loader enforces, and the same as JSON Schema.

The schema takes every value that the loader takes, as a YAML or JSON reader sees it: `model: 1.10`
is text to us and a number to such a reader, so labels may be numbers and truth values there.
What it cannot say (calendars, decimals, equal ids) only the loader refuses.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from gpuledger_agent.attribution.labels import MAX_LABEL

MAX_NOTE = 1000
"""Characters of free text."""

NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?"
"""How numbers are written."""

_DATE = r"-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"[T ][0-2][0-9]:[0-5][0-9](:[0-5][0-9])?(Z|[+-][0-9]{2}:[0-9]{2})?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A field: what it is in a sentence, and the column of the books that keeps it."""

    about: str
    column: str
    required: bool = False

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the field; one that may be left out may be empty, too."""
        taken = self._taken()
        if not self.required:
            taken = [*taken, {"enum": [None, ""]}]
        return {"description": self.about, "anyOf": taken}

    def written(self, value: Any) -> Any:
        """A value of the books as a file has it. Reading it again gives the value."""
        return value

    @abstractmethod
    def _taken(self) -> list[dict[str, Any]]:
        """Schemas one of which a value must fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Kind):
    """Text on one line: a name that agents accept too, or `prose` for people alone.

    `taken` is a word that the books use themselves, in lower case.
    """

    prose: bool = False
    taken: str = ""

    @property
    def longest(self) -> int:
        """Characters that it may have."""
        return MAX_NOTE if self.prose else MAX_LABEL

    def _taken(self) -> list[dict[str, Any]]:
        text: dict[str, Any] = {
            "type": "string",
            "minLength": 1,
            "maxLength": self.longest,
            "pattern": r"^[^\s=+@-]([^\u0000-\u001f\u007f]*\S)?$",
        }
        if self.taken:
            letters = "".join(f"[{letter.upper()}{letter}]" for letter in self.taken)
            text["not"] = {"pattern": f"^{letters}$"}
        return [text, {"type": "number", "minimum": 0}, {"type": "boolean"}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Kind):
    """A number between two bounds, both included, with so many decimals at most."""

    lowest: Decimal
    highest: Decimal
    decimals: int = 3

    def written(self, value: Decimal | None) -> int | float | None:
        """A plain number: floats hold the digits that a column has."""
        if value is None:
            return None
        return int(value) if value == int(value) else float(value)

    def _taken(self) -> list[dict[str, Any]]:
        bounds = {"minimum": self.written(self.lowest), "maximum": self.written(self.highest)}
        return [{"type": "number", **bounds}, {"type": "string", "pattern": f"^{NUMBER}$"}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment(Kind):
    """A moment, or a date: its first moment, or with `end` the first one after it."""

    end: bool = False

    def written(self, value: datetime | None) -> date | datetime | None:
        """A bare date where that says the same."""
        if value is None or (value.hour, value.minute, value.second) != (0, 0, 0):
            return value
        return (value - timedelta(days=1)).date() if self.end else value.date()

    def _taken(self) -> list[dict[str, Any]]:
        written = rf"^(20[0-9]{{2}}{_DATE}|[0-9]{{4}}{_DATE}{_TIME})$"
        return [{"type": "string", "pattern": written}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Kind):
    """One of these words."""

    options: Sequence[str]
    default: str

    def schema(self) -> dict[str, Any]:
        """Says the default, too."""
        return Kind.schema(self) | {"default": self.default}

    def _taken(self) -> list[dict[str, Any]]:
        return [{"enum": list(self.options)}]
