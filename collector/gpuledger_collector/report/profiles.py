"""The section of measured needs: percentiles of every model and endpoint."""

from __future__ import annotations

from gpuledger_collector.report.document import Section, figures, joined, table, words
from gpuledger_collector.report.model import Report, Row
from gpuledger_collector.report.units import UNKNOWN, bare

_LEAD = (
    (
        "What each model and endpoint really needs, those with most GPU time first. Memory and SM"
        " use are of one GPU, by time; GPUs in use are at a time, by minutes in which any was"
        " allocated. Size memory by p99, not by the median."
    ),
)


def profiles(report: Report) -> Section:
    """Profiles with their percentiles."""
    rows = report.answers["profiles"].rows
    title = "Profiles of models and endpoints"
    if not rows:
        lead: tuple[str, ...] = ("Nothing ran in this period that telemetry saw.",)
        return Section("profiles", title, lead, answers=("profiles",))
    columns = (
        words("Team"),
        words("Model and endpoint"),
        words("Pool and GPU"),
        figures("Held", "GPU-hours"),
        figures("GPUs in use, p50 / p95 / max", "GPUs"),
        figures("Allocated, p95", "GPUs"),
        figures("Memory, p50 / p95 / p99 / max", "GiB"),
        figures("SM use, p50 / p95 / p99", "%"),
    )
    shown = table("Profiles", columns, (_cells(row) for row in rows))
    return Section("profiles", title, _LEAD, (shown,), ("memory", "sm"), ("profiles",))


def _cells(row: Row) -> tuple[str, ...]:
    memory = [row[f"mem_mib_{name}"] for name in ("p50", "p95", "p99", "max")]
    sm = [row[f"sm_pct_{name}"] for name in ("p50", "p95", "p99")]
    return (
        row["team"],
        joined(row["model"], row["endpoint"]) or "(not said)",
        joined(row["pool"], row["gpu_model"]),
        bare(row["held_gpu_hours"]),
        " / ".join(bare(row[f"used_gpus_{name}"]) for name in ("p50", "p95", "max")),
        bare(row["allocated_gpus_p95"]),
        UNKNOWN if None in memory else " / ".join(bare(mib / 1024) for mib in memory),
        UNKNOWN if None in sm else " / ".join(map(bare, sm)),
    )
