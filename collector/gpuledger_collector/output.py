"""Rows for people (a table) and for machines (JSON, CSV), on stdout."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

FORMATS = ("table", "json", "csv")

_ANY_WIDTH = 100_000

Rows = Sequence[Sequence[Any]]


def show(columns: Sequence[str], rows: Rows, form: str = "table", *, title: str = "") -> None:
    """Write rows in one of FORMATS. Colour is rich's business: off in pipes and with NO_COLOR."""
    match form:
        case "json":
            objects = [dict(zip(columns, row, strict=True)) for row in rows]
            json.dump(objects, sys.stdout, indent=2, default=_text)
            sys.stdout.write("\n")
        case "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([["" if v is None else _text(v) for v in row] for row in rows])
        case _:
            to = console()
            to.print(table(columns, rows, to, title=title))


def console(width: int = 400) -> Console:
    """Where tables go; `width` is for pipes, where by default nothing is wrapped."""
    return Console() if sys.stdout.isatty() else Console(width=width)


def table(columns: Sequence[str], rows: Rows, to: Console, *, title: str = "") -> Table:
    """A table with numbers to the right.

    Where the console is too narrow for it, the columns move together and their names are broken
    at underscores; what is too wide even so is folded.
    """
    shown = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for index, name in enumerate(columns):
        numeric = any(_is_number(row[index]) for row in rows)
        shown.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        # Text, not str: values are data, never rich's markup.
        shown.add_row(*(Text("-" if v is None else _text(v)) for v in row))
    if to.measure(shown, options=to.options.update_width(_ANY_WIDTH)).maximum > to.width:
        shown.padding = 0
        shown.show_edge = False
        for column, name in zip(shown.columns, columns, strict=True):
            column.header = name.replace("_", "_\n")
    return shown


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or type(value).__name__ == "Decimal"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime):
        at = value if value.tzinfo else value.replace(tzinfo=UTC)
        return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    text = str(value)
    # What a host sent must not move a terminal's cursor.
    return text if text.isprintable() else text.encode("unicode_escape").decode()
