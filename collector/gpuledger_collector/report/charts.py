"""The charts of a review, drawn by matplotlib."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

from matplotlib import rc_context
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from gpuledger_collector.report.books import CAUSES, STAGES
from gpuledger_collector.report.document import joined
from gpuledger_collector.report.drawing import Drawing, drawn
from gpuledger_collector.report.looks import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    LOOK,
    MOST_BARS,
    ORANGE,
    RED,
    SKY,
    WIDTH,
    bars,
    label,
    short,
    write_value,
)
from gpuledger_collector.report.model import Report, Row
from gpuledger_collector.report.service_charts import objectives, pareto
from gpuledger_collector.report.units import number

STAGE_COLOURS = dict(
    zip((stage for stage, _ in STAGES), (FAINT, BLUE, SKY, GREEN, ORANGE), strict=True)
)
_CAUSE_LOOKS = {"unclaimed": (ORANGE, ""), "idle": (RED, "//"), "underused": (SKY, "..")}


def draw(report: Report) -> Mapping[str, Drawing]:
    """Drawings by the name of the chart; those that would be empty are left out."""
    makers: Mapping[str, Callable[[Report], Drawing | None]] = {
        "funnel": _funnel, "course": _course, "waste": _waste,
        "memory": _memory, "sm": _sm, "objectives": objectives, "pareto": pareto, "pools": _pools,
    }  # fmt: skip
    with rc_context(LOOK), warnings.catch_warnings():
        # A name in a script that the measuring font lacks is still shown by the browser's own.
        warnings.filterwarnings("ignore", message="Glyph ")
        return {name: chart for name, make in makers.items() if (chart := make(report))}


def _funnel(report: Report) -> Drawing | None:
    this, previous = report.whole(), report.whole("previous")
    if this is None:
        return None
    figure, axes = bars(len(STAGES))
    for place, (stage, _) in enumerate(STAGES):
        value = this[f"{stage}_gpu_hours"]
        axes.barh(place, value, 0.62, color=STAGE_COLOURS[stage])
        write_value(axes, value, place)
        if previous:
            before = previous[f"{stage}_gpu_hours"]
            axes.plot([before, before], [place - 0.4, place + 0.4], color=INK, linewidth=2)
    label(axes, [stage for stage, _ in STAGES], "GPU-hours")
    axes.margins(x=0.16)
    told = ", ".join(f"{stage} {number(this[f'{stage}_gpu_hours'])}" for stage, _ in STAGES)
    note = " A black mark is the previous period." if previous else ""
    return drawn(figure, "funnel", f"The funnel, in GPU-hours.{note}", f"GPU-hours: {told}.{note}")


def _course(report: Report) -> Drawing | None:
    rows = report.books("step")
    if len(rows) < 2:
        return None
    figure = Figure((WIDTH, 2.9), layout="constrained")
    axes = figure.subplots()
    at = [row["from"] for row in rows]
    for stage, style in (("requested", "--"), ("allocated", "-"), ("active", "-"), ("busy", "-")):
        values = [row[f"{stage}_gpu_hours"] / row["hours"] for row in rows]
        axes.plot(at, values, style, color=STAGE_COLOURS[stage], linewidth=1.8, label=stage)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("GPUs")
    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(locator, show_offset=False)  # type: ignore[no-untyped-call]
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    figure.legend(loc="outside upper left", ncols=4, columnspacing=1.0, handlelength=1.6)
    step = report.period.step_hours
    title = f"GPUs at a time, means of {'an hour' if step == 1 else f'{step} hours'}, UTC."
    last = rows[-1]
    told = ", ".join(
        f"{stage} {number(last[f'{stage}_gpu_hours'] / last['hours'])}"
        for stage in ("requested", "allocated", "active", "busy")
    )
    return drawn(figure, "course", title, f"{title} At the end: {told} GPUs.")


def _waste(report: Report) -> Drawing | None:
    rows = tuple(r for r in report.books("team") if r["waste_gpu_hours"] > 0)[:MOST_BARS]
    if not rows:
        return None
    figure, axes = bars(len(rows), legend=True)
    for place, row in enumerate(rows):
        left = 0.0
        for cause, _ in CAUSES:
            colour, hatch = _CAUSE_LOOKS[cause]
            value = row[f"{cause}_gpu_hours"]
            axes.barh(place, value, 0.62, left, color=colour, hatch=hatch, edgecolor="white",
                      linewidth=0, label=cause if place == 0 else None)  # fmt: skip
            left += value
        write_value(axes, left, place)
    label(axes, [row["team"] for row in rows], "GPU-hours wasted")
    axes.margins(x=0.16)
    figure.legend(loc="outside upper left", ncols=3, columnspacing=1.2, handlelength=1.6)
    told = ", ".join(f"{short(row['team'])} {number(row['waste_gpu_hours'])}" for row in rows)
    return drawn(figure, "waste", "Waste by team and cause, in GPU-hours.", f"GPU-hours: {told}.")


def _memory(report: Report) -> Drawing | None:
    title = "Memory of one GPU, for those with most GPU time, in GiB."
    marks = (("p50", "o", BLUE), ("p99", "D", RED), ("max", "|", INK))
    return _ranges(report, ("memory", "mem_mib", "GiB", 1024), title, marks)


def _sm(report: Report) -> Drawing | None:
    title = "SM use of one GPU, for those with most GPU time, in percent."
    marks = (("p50", "o", BLUE), ("p95", "D", RED), ("p99", "|", INK))
    return _ranges(report, ("sm", "sm_pct", "percent", 1), title, marks)


def _ranges(
    report: Report,
    what: tuple[str, str, str, float],
    title: str,
    marks: Sequence[tuple[str, str, str]],
) -> Drawing | None:
    """Percentiles of a measure (name, column, unit, divisor), a line an owner."""
    name, column, unit, divisor = what
    last = f"{column}_{marks[-1][0]}"
    known = (row for row in report.answers["profiles"].rows if row[last] is not None)
    rows = tuple(known)[:MOST_BARS]
    if not rows:
        return None
    figure, axes = bars(len(rows), legend=True)
    told = []
    for place, row in enumerate(rows):
        values = [row[f"{column}_{mark}"] / divisor for mark, _, _ in marks]
        axes.plot(values[:2], [place, place], color=SKY, linewidth=6, solid_capstyle="butt")
        for (mark, marker, colour), value in zip(marks, values, strict=True):
            axes.plot([value], [place], marker, color=colour, markersize=7, markeredgewidth=2,
                      label=mark if place == 0 else None)  # fmt: skip
        told.append(f"{short(_owner(row))} {number(values[0])} and {number(values[1])}")
    axes.set_xlim(left=0)
    label(axes, [_owner(row) for row in rows], f"{unit} of one GPU")
    figure.legend(loc="outside upper left", ncols=3, columnspacing=1.2)
    percentiles = " and ".join(mark for mark, _, _ in marks[:2])
    return drawn(figure, name, title, f"{percentiles}, {unit}: {'; '.join(told)}.")


def _pools(report: Report) -> Drawing | None:
    rows = sorted(report.answers["headroom"].rows, key=lambda row: -row["capacity_gpus"])
    rows = rows[:MOST_BARS]
    if not rows:
        return None
    figure, axes = bars(len(rows), legend=True, of=0.6)
    for place, row in enumerate(rows):
        first = place == 0
        axes.barh(place, row["capacity_gpus"], 0.72, color="#dddddd",
                  label="capacity" if first else None)  # fmt: skip
        for shift, name, colour in ((-0.18, "allocated", BLUE), (0.18, "used", GREEN)):
            axes.barh(place + shift, row[f"{name}_gpus"], 0.26, color=colour,
                      label=("in use" if name == "used" else name) if first else None)  # fmt: skip
        wanted = row["requested_gpus"]
        axes.plot([wanted, wanted], [place - 0.42, place + 0.42], color=INK, linewidth=2,
                  label="requested" if first else None)  # fmt: skip
    labels = [joined(row["pool"] or "(no name)", _gpu(row["gpu_model"])) for row in rows]
    label(axes, labels, "GPUs")
    figure.legend(loc="outside upper left", ncols=4, columnspacing=1.0, handlelength=1.2)
    told = "; ".join(
        f"{short(label)}: capacity {number(row['capacity_gpus'])}, requested"
        f" {number(row['requested_gpus'])}, allocated {number(row['allocated_gpus'])}"
        for label, row in zip(labels, rows, strict=True)
    )
    return drawn(figure, "pools", "Room in each pool, in GPUs.", f"{told}.")


def _owner(row: Row) -> str:
    return row["model"] or row["endpoint"] or f"{row['team']}, no model"


def _gpu(model: str) -> str:
    return model.removeprefix("NVIDIA ").split(" ")[0].split("-")[0]
