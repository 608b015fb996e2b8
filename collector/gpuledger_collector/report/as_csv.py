"""A review as one tidy table: a line per figure, named by its keys."""

from __future__ import annotations

import csv
import io
import math
from datetime import UTC, datetime
from typing import Any

from gpuledger_collector.report.model import Answer, Report, Row
from gpuledger_collector.report.units import unit_of

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")
"""What a spreadsheet takes for the start of a formula, full-width forms included."""


def render(report: Report) -> str:
    """`section, keys …, metric, value, unit`. What is not known is an empty value."""
    answers = report.answers.values()
    keys = list(dict.fromkeys(key for answer in answers for key in answer.keys))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["section", *keys, "metric", "value", "unit"])
    for answer in answers:
        for row in answer.rows:
            writer.writerows(_lines(answer, row, keys))
    return text.getvalue()


def _lines(answer: Answer, row: Row, keys: list[str]) -> list[list[str]]:
    named = [_cell(row[key]) if key in answer.keys else "" for key in keys]
    return [
        [answer.name, *named, column, _cell(row[column]), unit_of(column)]
        for column in answer.columns
        if column not in answer.keys
    ]


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case float() if not math.isfinite(value):
            return ""
        case int() | float():
            return str(value)
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case dict():
            return _text("; ".join(f"{name} {told}" for name, told in sorted(value.items())))
        case _:
            return _text(str(value))


def _text(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
