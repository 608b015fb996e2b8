"""The sections of the ledger: the funnel, and waste by cause and owner."""

from __future__ import annotations

from gpuledger_collector.report.document import Section, Table, figures, joined, table, words
from gpuledger_collector.report.model import Report, Row
from gpuledger_collector.report.summary import nothing, observed_hours
from gpuledger_collector.report.units import bare, change, number, share

STAGES = (
    ("requested", "asked for by approved requests"),
    ("allocated", "held, or granted without a process"),
    ("held", "a process was there"),
    ("active", "held in windows with SM time"),
    ("busy", "SMs busy"),
)
CAUSES = (
    ("unclaimed", "requested and not allocated"),
    ("idle", "allocated in windows without SM time"),
    ("underused", "active and not busy"),
)


def funnel(report: Report) -> Section:
    """From requested to busy, against the previous period."""
    this, previous = report.whole(), report.whole("previous") or {}
    title = "The funnel"
    if this is None:
        return Section("funnel", title, (nothing(report),), answers=("books",))
    rows = []
    for stage, meaning in STAGES:
        column = f"{stage}_gpu_hours"
        rows.append(
            (
                stage,
                meaning,
                bare(this[column]),
                share(this[column], this["requested_gpu_hours"]),
                bare(previous.get(column)),
                change(this[column], previous.get(column)),
            )
        )
    lead = ["GPU time from what was asked for to what was worked."]
    if this["unmeasured_gpu_hours"]:
        unknown = number(this["unmeasured_gpu_hours"], "GPU-hours")
        lead.append(
            f"{unknown} were held of which nobody can say whether the GPU was busy: nobody's waste."
        )
    seen = observed_hours(report, "previous")
    if previous and seen < 0.9 * report.period.hours:
        lead.append(
            f"Compare with care: of the previous period, {seen:,} of {report.period.hours:,} hours"
            " have telemetry."
        )
    shown = table(
        "Funnel",
        (
            words("Stage"),
            words("Meaning"),
            figures("This period", "GPU-hours"),
            figures("Of requested"),
            figures("Previous period", "GPU-hours"),
            figures("Change"),
        ),
        rows,
    )
    charts = ("funnel", "course")
    return Section("funnel", title, tuple(lead), (shown,), charts, ("books",))


def waste(report: Report) -> Section:
    """What was asked for and not used: by cause, by team and by model."""
    answers = ("books",)
    this = report.whole()
    if this is None:
        return Section("waste", "Waste", (nothing(report),), answers=answers)
    lead = ["Waste is unclaimed + idle + underused GPU time; money is its price."]
    if this["unpriced_waste_gpu_hours"]:
        lead.append(
            f"{number(this['unpriced_waste_gpu_hours'], 'GPU-hours')} of it have no price and are"
            " not part of the money: gpuledger prices apply FILE."
        )
    previous = report.whole("previous") or {}
    tables = (_by_cause(this, previous), _by_team(report), _by_model(report))
    return Section("waste", "Waste", tuple(lead), tables, ("waste",), answers)


def _by_cause(this: Row, previous: Row) -> Table:
    columns = (
        words("Cause"),
        words("Meaning"),
        figures("Waste", "GPU-hours"),
        figures("Price", "USD"),
        figures("Previous period", "GPU-hours"),
        figures("Change"),
    )
    causes = (*CAUSES, ("waste", "all three"))
    return table(
        "By cause",
        columns,
        (
            (
                "total" if cause == "waste" else cause,
                meaning,
                bare(this[f"{cause}_gpu_hours"]),
                bare(this[f"{cause}_usd"]),
                bare(previous.get(f"{cause}_gpu_hours")),
                change(this[f"{cause}_gpu_hours"], previous.get(f"{cause}_gpu_hours")),
            )
            for cause, meaning in causes
        ),
    )


def _by_team(report: Report) -> Table:
    before = {row["team"]: row for row in report.books("team", "previous")}
    rows = []
    for row in report.books("team"):
        previous = before.get(row["team"], {})
        rows.append(
            (
                row["team"],
                *(bare(row[f"{cause}_gpu_hours"]) for cause, _ in CAUSES),
                bare(row["waste_gpu_hours"]),
                *(bare(row[f"{cause}_usd"]) for cause, _ in CAUSES),
                bare(row["waste_usd"]),
                change(row["waste_gpu_hours"], previous.get("waste_gpu_hours")),
            )
        )
    hours = [figures(cause.capitalize(), "GPU-hours") for cause, _ in CAUSES]
    money = [figures(cause.capitalize(), "USD") for cause, _ in CAUSES]
    columns = (words("Team"), *hours, figures("Waste", "GPU-hours"), *money,
               figures("Price", "USD"), figures("GPU-hours against previous"))  # fmt: skip
    return table("By team", columns, rows)


def _by_model(report: Report) -> Table:
    columns = (
        words("Team"),
        words("Model and endpoint"),
        *(figures(cause.capitalize(), "GPU-hours") for cause, _ in CAUSES),
        figures("Waste", "GPU-hours"),
        figures("Price", "USD"),
    )
    return table(
        "By model and endpoint",
        columns,
        (
            (
                row["team"],
                joined(row["model"], row["endpoint"]) or "(not said, or any)",
                *(bare(row[f"{cause}_gpu_hours"]) for cause, _ in CAUSES),
                bare(row["waste_gpu_hours"]),
                bare(row["waste_usd"]),
            )
            for row in report.books("model")
            if row["waste_gpu_hours"]
        ),
    )
