"""What the charts of a review have in common. Colours are Okabe and Ito's, told apart by all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gpuledger_collector.report.units import number

MOST_BARS = 12
WIDTH = 4.9
"""Inches of 72 units each: text of 10 units stays readable on a phone of 360 pixels."""

INK, FAINT, BLUE, SKY, GREEN, ORANGE, RED = (
    "#222222", "#767676", "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00",
)  # fmt: skip
LOOK: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "hatch.linewidth": 0.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "timezone": "UTC",
}


def bars(count: int, *, legend: bool = False, of: float = 0.34) -> tuple[Figure, Axes]:
    """An empty chart of horizontal bars, the first at the top; `of`: inches of each."""
    height = of * count + 0.75 + (0.3 if legend else 0)
    figure = Figure((WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.set_ylim(count - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def label(axes: Axes, names: Sequence[str], unit: str) -> None:
    """Names of the bars, and the unit of their lengths."""
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set_xlabel(unit)


def write_value(axes: Axes, value: float, place: int) -> None:
    """The figure at the end of its bar."""
    axes.annotate(number(value), (value, place), (4, 0), textcoords="offset points", va="center")


def short(name: str) -> str:
    """A name that leaves room for its bar, and that XML can hold."""
    plain = "".join(c if c.isprintable() else " " for c in name)
    return plain if len(plain) <= 20 else plain[:19] + "…"
