"""The section of capacity requests: each beside its use, with a verdict in plain words."""

from __future__ import annotations

from collections.abc import Iterable

from gpuledger_collector.report.document import Section, Table, figures, joined, table, words
from gpuledger_collector.report.model import Report, Row
from gpuledger_collector.report.units import UNKNOWN, bare, number

_LEAD = (
    (
        "Each request beside the last seven days of telemetry (or the time since it counts), as of"
        " now. Percentiles are over minutes; time that nobody could measure counts as used."
    ),
)
ENOUGH_HOURS = 24
"""Telemetry to judge a request by, as the rule over_provisioned_request has it."""


def requests(report: Report) -> Section:
    """Every request with its evidence, and what those who ask operate already."""
    answers = ("requests", "surface")
    rows = report.answers["requests"].rows
    lead = _LEAD if rows else ("Nobody has asked for anything: gpuledger requests apply FILE.",)
    tables = (*((_requests(rows),) if rows else ()), *_operated(report))
    return Section("requests", "Capacity requests", lead, tables, answers=answers)


def _requests(rows: Iterable[Row]) -> Table:
    columns = (
        words("Request"),
        words("Verdict"),
        words("Team"),
        words("For"),
        figures("Requested", "GPUs"),
        figures("Allocated, p95", "GPUs"),
        figures("Used, p50 / p95 / max", "GPUs"),
        figures("Memory of a GPU, p99 / expected", "GiB"),
        figures("SM use, mean / expected", "%"),
        figures("Observed", "hours"),
    )
    return table("Requests", columns, (_cells(row) for row in rows))


def _operated(report: Report) -> tuple[Table, ...]:
    columns = {
        "models": figures("Models"),
        "models_without_traffic": figures("that nobody asked"),
        "endpoints": figures("Endpoints"),
        "endpoints_without_slo": figures("without an objective"),
        "hosts": figures("Hosts"),
        "allocated_gpus": figures("Allocated, mean", "GPUs"),
        "requested_gpus": figures("Requested", "GPUs"),
        "proposed_gpus": figures("Proposed", "GPUs"),
        "open_findings": figures("Findings open"),
    }
    rows = [
        (row["team"], *(bare(row[name]) for name in columns))
        for row in report.answers["surface"].rows
    ]
    titles = (words("Team"), *columns.values())
    return (table("What each team operates already", titles, rows),) if rows else ()


def verdict(row: Row) -> str:
    """What is to be done about a request, in plain words."""
    told = _verdict(row)
    expected, measured = row["expected_memory_gib"], row["measured_memory_gib_p99"]
    if expected is not None and measured is not None and measured > expected:
        told += f" A GPU needs {number(measured, 'GiB')} of memory, not {number(expected, 'GiB')}."
    thin = (
        row["verdict"] not in {"not_in_force", "no_data"} and row["observed_hours"] < ENOUGH_HOURS
    )
    return told + (" Little telemetry yet: judge later." if thin else "")


def _verdict(row: Row) -> str:
    requested = number(row["requested_gpus"], "GPUs")
    match row["verdict"]:
        case "not_in_force":
            return f"Not in force: {row['status']}{_outside(row)}."
        case "no_data":
            return "In force, but telemetry has seen nothing of its pool yet."
        case "unused":
            return f"Never used. Withdraw it: {requested} go back{_money(row)}."
        case "oversized":
            return (
                f"Asked for {requested}, used {bare(row['used_gpus_p95'])} at the 95th percentile."
                f" Lower it: {number(row['reclaimable_gpus'], 'GPUs')} go back{_money(row)}."
            )
        case "undersized":
            return (
                f"Holds {number(row['allocated_gpus_p95'], 'GPUs')}, asked for"
                f" {bare(row['requested_gpus'])}. Ask for what is held, or give it back."
            )
        case _:
            return "Fits: what was asked for is used."


def _outside(row: Row) -> str:
    return ", but not begun or over" if row["status"] == "approved" else ""


def _money(row: Row) -> str:
    usd = row["reclaimable_usd_per_week"]
    return f" (price: {UNKNOWN})" if usd is None else f" ({number(usd, 'USD a week')})"


def _cells(row: Row) -> tuple[str, ...]:
    used = (row["used_gpus_p50"], row["used_gpus_p95"], row["used_gpus_max"])
    return (
        row["id"],
        verdict(row),
        joined(row["team"], row["owner"]),
        joined(row["model"] or "any model", row["endpoint"], row["use_case"], row["pool"],
               row["gpu_model"]),
        bare(row["requested_gpus"]),
        bare(row["allocated_gpus_p95"]),
        UNKNOWN if None in used else " / ".join(map(bare, used)),
        _beside(row["measured_memory_gib_p99"], row["expected_memory_gib"]),
        _beside(row["measured_sm_pct"], row["expected_sm_pct"]),
        bare(row["observed_hours"]),
    )  # fmt: skip


def _beside(measured: float | None, expected: float | None) -> str:
    return f"{bare(measured)} / {'-' if expected is None else bare(expected)}"
