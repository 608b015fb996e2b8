"""Figures for people: a unit always, thousands apart, "unknown" where nothing is known."""

from __future__ import annotations

import math
from datetime import datetime

from gpuledger_collector.moments import shown

UNKNOWN = "unknown"

_UNITS = (
    ("gpu_hours", "GPU-hours"),
    ("usd_per_week", "USD a week"),
    ("usd", "USD"),
    ("gpus_per_day", "GPUs a day"),
    ("gpus", "GPUs"),
    ("mib", "MiB"),
    ("gib", "GiB"),
    ("pct", "%"),
    ("rps", "requests/s"),
    ("ms", "ms"),
    ("hours", "hours"),
    ("days", "days"),
    ("requests", "requests"),
    ("rows", "rows"),
)
"""Part of a column's name, between underscores -> its unit; the first that fits counts."""


def unit_of(column: str) -> str:
    """The unit of a column by its name, "" if it has none."""
    name = f"_{column}_"
    if column.startswith("days_to_"):
        return "days"
    return next((unit for part, unit in _UNITS if f"_{part}_" in name), "")


def number(value: float | None, unit: str = "") -> str:
    """A figure with its unit; three digits at least where there are so many."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{_digits(value)} {unit}".rstrip()


def bare(value: float | None) -> str:
    """A figure whose unit stands at the head of its column."""
    return number(value)


def share(part: float | None, whole: float | None) -> str:
    """Percent of a whole; unknown where there is no whole."""
    return number(100 * part / whole, "%") if part is not None and whole else UNKNOWN


def change(value: float | None, before: float | None) -> str:
    """How a figure stands to that of the previous period, in words."""
    if value is None or before is None:
        return "no comparison"
    if _digits(value) == _digits(before):
        return "as before"
    if before <= 0:
        return "none before"
    percent = 100 * abs(value - before) / before
    told = f"{percent:,.0f} %" if percent >= 1 else "less than 1 %"
    return f"{told} {'more' if value > before else 'less'}"


def moment(at: datetime | None) -> str:
    """A time to the minute, UTC."""
    return UNKNOWN if at is None else shown(at)


def _digits(value: float) -> str:
    size = abs(value)
    if 0 < size < 0.005:
        return "< 0.01" if value > 0 else "> -0.01"
    places = 0 if value == round(value) or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{value:,.{places}f}"
