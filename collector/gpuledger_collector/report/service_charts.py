"""Charts of what inference servers serve: objectives against load, and who carries the traffic."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpuledger_collector.report.drawing import Drawing, drawn
from gpuledger_collector.report.looks import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    MOST_BARS,
    ORANGE,
    RED,
    WIDTH,
    bars,
    label,
    short,
)
from gpuledger_collector.report.model import Report, Row
from gpuledger_collector.report.units import number

FULL_PCT = 85
"""Load from which more GPUs would help; slo.sql judges by the same."""

_FLOOR, _CEILING, _LINE = -14, 120, 8
"""Ends of the axis of attainment, which leave room for the names of zones; room of a name."""

_LOOKS = {"enough": ("o", GREEN), "tune": ("s", BLUE), "grow": ("^", RED), "unclear": ("D", FAINT)}


def objectives(report: Report) -> Drawing | None:
    """Attainment against load, an endpoint a mark; zones are called as the verdicts."""
    rows = [
        r for r in report.answers["slo"].rows if r["verdict"] in _LOOKS and _load(r) is not None
    ]
    if not rows:
        return None
    figure = Figure((WIDTH, 3.9), layout="constrained")
    axes = figure.subplots()
    _zones(axes, sorted({row["target_attainment_pct"] for row in rows}))
    for row in rows:
        marker, colour = _LOOKS[row["verdict"]]
        load, low, high = _load(row) or 0, row["attainment_pct_low"], row["attainment_pct_high"]
        axes.plot([load, load], [low, high], color=colour, linewidth=2)
        axes.plot([load], [low], marker, color=colour, markersize=8, markeredgecolor="white")
    _name(axes, [row for row in rows if row["verdict"] != "enough"][:MOST_BARS])
    told = "; ".join(
        f"{short(_endpoint(row))} {row['verdict']}, {number(row['attainment_pct_low'])} % at load"
        f" {number(_load(row))} %"
        for row in rows[:MOST_BARS]
    )
    title = (
        "Attainment against load, an endpoint a mark; bars go up to what it can be at most, goals"
        " are dashed. Load is the mean, or that of the missed hours where they decide. Those who"
        " met their goal are not named."
    )
    return drawn(figure, "objectives", title, f"Verdict, attainment and load: {told}.")


def _load(row: Row) -> float | None:
    """What the verdict judges by."""
    name = "missed_load_pct" if row["verdict"] in {"tune", "grow"} else "load_pct_mean"
    load: float | None = row[name]
    return load


def _zones(axes: Axes, goals: Sequence[float]) -> None:
    """Where an endpoint of any of these goals has this verdict, and the lines of the goals."""
    lowest, highest = goals[0], goals[-1]
    for name, left, right, bottom, top, place in (
        ("enough", 0, 104, highest, _CEILING, _CEILING - 9),
        ("tune", 0, FULL_PCT, _FLOOR, lowest, _FLOOR + 7),
        ("grow", FULL_PCT, 104, _FLOOR, lowest, _FLOOR + 7),
    ):
        colour = _LOOKS[name][1]
        axes.fill_between([left, right], bottom, top, color=colour, alpha=0.1, linewidth=0)
        axes.text((left + right) / 2, place, name, ha="center", va="center", weight="bold")
    for goal in goals:
        axes.axhline(goal, color=INK, linewidth=1.2, linestyle="--")
    axes.set_xlim(0, 104)
    axes.set_ylim(_FLOOR, _CEILING)
    axes.set_xticks([0, 25, 50, FULL_PCT, 100])
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.set_xlabel("load, percent")
    axes.set_ylabel("hours that met it, percent")


def _name(axes: Axes, rows: Sequence[Row]) -> None:
    """Names beside their marks, moved apart where they would lie on one another."""
    ordered = sorted(rows, key=lambda row: -row["attainment_pct_low"])
    lows = [row["attainment_pct_low"] for row in ordered]
    for row, low, place in zip(ordered, lows, apart(lows), strict=True):
        at = _load(row) or 0
        side = 1 if at < 52 else -1
        axes.annotate(
            short(_endpoint(row)), (at, low), (at + 5 * side, place), va="center", fontsize=9,
            ha="left" if side > 0 else "right",
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.6, "shrinkB": 4},
        )  # fmt: skip


def apart(values: Sequence[float]) -> list[float]:
    """Places from 0 to 100 near these values, the highest first, with room for a name at each."""
    places: list[float] = []
    for number_below, value in zip(range(len(values) - 1, -1, -1), values, strict=True):
        highest = places[-1] - _LINE if places else 100.0
        places.append(max(min(value, highest), number_below * _LINE))
    return places


def pareto(report: Report) -> Drawing | None:
    """Share of requests beside share of GPUs, a model a line, the most asked first."""
    rows = [row for row in report.answers["traffic"].rows if row["request_share_pct"] is not None]
    rows = rows[:MOST_BARS]
    if not rows:
        return None
    figure, axes = bars(len(rows), legend=True, of=0.42)
    for shift, what, colour, hatch in ((-0.18, "request", BLUE, ""), (0.18, "gpu", ORANGE, "//")):
        shares = [row[f"{what}_share_pct"] or 0 for row in rows]
        places = [place + shift for place in range(len(rows))]
        axes.barh(places, shares, 0.32, color=colour, hatch=hatch, edgecolor="white", linewidth=0,
                  label="requests" if what == "request" else "GPUs")  # fmt: skip
    sums = [row["cumulative_request_share_pct"] for row in rows]
    axes.plot(sums, range(len(rows)), "o-", color=INK, linewidth=1.2, markersize=4,
              label="requests, cumulative")  # fmt: skip
    axes.set_xlim(0, 104)
    axes.set_xticks([0, 25, 50, 75, 100])
    label(axes, [row["model"] or "(not said)" for row in rows], "share, percent")
    figure.legend(loc="outside upper left", ncols=3, columnspacing=1.0, handlelength=1.2)
    told = "; ".join(
        f"{short(row['model'] or '(not said)')} {number(row['request_share_pct'])} and"
        f" {number(row['gpu_share_pct'])}"
        for row in rows
    )
    title = "Share of requests beside share of GPUs, the most asked models first, in percent."
    return drawn(figure, "pareto", title, f"Percent of requests and of GPUs: {told}.")


def _endpoint(row: Row) -> str:
    return str(row["endpoint"] or row["model"] or "(not said)")
