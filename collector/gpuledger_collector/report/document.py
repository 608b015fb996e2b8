"""A review in words and tables: what the renderers for people have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_ROWS = 50
"""Of a table for people; JSON and CSV have all."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table for people; `unit` is empty where cells say it themselves."""

    title: str
    unit: str = ""
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as they are shown; `left_out` rows more are in the books."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Section:
    """One subject: sentences, charts and tables by name, and the answers that they rest on."""

    key: str
    title: str
    lead: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    charts: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """One number at the top: what it is, and what to hold it against."""

    title: str
    value: str
    beside: str


@dataclass(frozen=True, slots=True)
class Document:
    """The whole review."""

    title: str
    about: tuple[str, ...]
    figures: tuple[Figure, ...]
    sections: tuple[Section, ...]


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> Table:
    """A table of the first MAX_ROWS rows."""
    cells = [tuple(row) for row in rows]
    return Table(caption, tuple(columns), tuple(cells[:MAX_ROWS]), max(len(cells) - MAX_ROWS, 0))


def words(title: str) -> Column:
    """A column of words."""
    return Column(title)


def figures(title: str, unit: str = "") -> Column:
    """A column of numbers."""
    return Column(title, unit, numeric=True)


def joined(*parts: object) -> str:
    """What is known of these, in one cell."""
    return " · ".join(str(part) for part in parts if part)


def counted(number: int, one: str, many: str = "") -> str:
    """3 findings, 1 finding."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
