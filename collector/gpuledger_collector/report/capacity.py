"""The section of pools: room, and when it ends."""

from __future__ import annotations

from gpuledger_collector.report.document import Section, figures, table, words
from gpuledger_collector.report.model import Report, Row
from gpuledger_collector.report.units import bare

_LEAD = (
    (
        "The whole fleet. Levels are of the newest hour of the period. Room is capacity less what"
        " is requested or allocated, whichever is more; below zero, that much is promised or taken"
        " beyond capacity."
    ),
    (
        "The forecast is of now: a straight line through four weeks, with a band of two standard"
        " errors of its slope. It knows nothing of plans."
    ),
)


def headroom(report: Report) -> Section:
    """Room by pool and GPU model, with the forecast."""
    rows = report.answers["headroom"].rows
    if not rows:
        lead: tuple[str, ...] = ("Telemetry saw no pool in this period.",)
        return Section("headroom", "Headroom and forecast", lead, answers=("headroom",))
    columns = (
        words("Pool"),
        words("GPU"),
        figures("Capacity", "GPUs"),
        figures("Requested", "GPUs"),
        figures("Allocated", "GPUs"),
        figures("In use", "GPUs"),
        figures("Room", "GPUs"),
        figures("Trend", "GPUs a day"),
        words("Full in"),
    )
    shown = table("Pools", columns, (_cells(row) for row in rows))
    return Section("headroom", "Headroom and forecast", _LEAD, (shown,), ("pools",), ("headroom",))


def forecast(row: Row) -> str:
    """When a pool is full, with the uncertainty."""
    if row["trend_gpus_per_day"] is None:
        return "no forecast: less than 14 days of telemetry"
    days, earliest, latest = (
        row[f"days_to_full{part}"] for part in ("", "_earliest", "_latest")
    )  # fmt: skip
    if days == 0:
        return "full already"
    if days is None:
        return "not in sight" + (
            "" if earliest is None else f" ({bare(earliest)} days at earliest)"
        )
    until = "perhaps never" if latest is None else f"{bare(latest)}"
    return f"{bare(days)} days ({bare(earliest)} to {until})"


def _cells(row: Row) -> tuple[str, ...]:
    trend = row["trend_gpus_per_day"]
    error = row["trend_error_gpus_per_day"]
    return (
        row["pool"] or "(no name)",
        row["gpu_model"],
        *(bare(row[f"{name}_gpus"]) for name in ("capacity", "requested", "allocated", "used")),
        bare(row["headroom_gpus"]),
        bare(trend) if trend is None or error is None else f"{bare(trend)} ± {bare(2 * error)}",
        forecast(row),
    )
