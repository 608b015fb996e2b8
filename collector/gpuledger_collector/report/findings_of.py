"""Findings of a review by what became of them."""

from __future__ import annotations

from dataclasses import dataclass

from gpuledger_collector.report.model import Report, Row


@dataclass(frozen=True, slots=True)
class Findings:
    """Open and new in the period; open since before; acknowledged; resolved in the period."""

    new: tuple[Row, ...]
    still: tuple[Row, ...]
    acknowledged: tuple[Row, ...]
    resolved: tuple[Row, ...]


def findings_of(report: Report) -> Findings:
    """Sort the findings of a report; each stands in one place."""
    rows = report.answers["findings"].rows
    open_rows = [r for r in rows if r["state_then"] == "open"]
    waiting = [r for r in open_rows if not r["is_acknowledged"]]
    return Findings(
        new=tuple(r for r in waiting if r["is_new"]),
        still=tuple(r for r in waiting if not r["is_new"]),
        acknowledged=tuple(r for r in open_rows if r["is_acknowledged"]),
        resolved=tuple(r for r in rows if r["state_then"] == "resolved"),
    )
