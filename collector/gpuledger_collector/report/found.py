"""The section of findings: what changed since the last review."""

from __future__ import annotations

from collections.abc import Iterable

from gpuledger_collector.report.document import Section, Table, counted, figures, table, words
from gpuledger_collector.report.findings_of import findings_of
from gpuledger_collector.report.model import Report, Row
from gpuledger_collector.report.units import bare, moment


def findings(report: Report) -> Section:
    """New, still open, acknowledged and resolved findings."""
    kinds = findings_of(report)
    lead = (
        (
            f"Since the last review {counted(len(kinds.new), 'finding')} came up and"
            f" {len(kinds.resolved):,} went; {counted(len(kinds.still), 'finding')} stayed open."
            " Money is what is at stake in a week at the present rate."
        ),
    )
    open_tables = [
        _table(caption, rows)
        for caption, rows in (("New", kinds.new), ("Still open", kinds.still))
        if rows
    ]
    rested = [_acknowledged(kinds.acknowledged)] if kinds.acknowledged else []
    gone = [_table("Resolved", kinds.resolved, resolved=True)] if kinds.resolved else []
    tables = (*open_tables, *rested, *gone)
    return Section("findings", "Findings", lead, tables, answers=("findings",))


def _table(caption: str, rows: Iterable[Row], *, resolved: bool = False) -> Table:
    columns = (
        words("Severity"),
        words("Rule"),
        words("Subject"),
        words("Team"),
        figures("At stake", "USD a week"),
        words("Resolved" if resolved else "Since"),
        words("Evidence"),
        words("Id"),
    )
    when = "resolved_at" if resolved else "first_seen"
    return table(
        caption,
        columns,
        (
            (
                *_what(row),
                bare(row["usd_per_week"]),
                moment(row[when]),
                "; ".join(f"{name} {value}" for name, value in sorted(row["evidence"].items())),
                row["id"],
            )
            for row in rows
        ),
    )


def _acknowledged(rows: Iterable[Row]) -> Table:
    columns = tuple(
        words(title) for title in ("Severity", "Rule", "Subject", "Team", "Until", "By", "Reason")
    )
    return table(
        "Acknowledged",
        columns,
        ((*_what(r), moment(r["acked_until"]), r["acked_by"], r["ack_reason"]) for r in rows),
    )


def _what(row: Row) -> tuple[str, ...]:
    team = row["team"] or "(who runs the fleet)"
    return (row["severity"], row["rule"].replace("_", " "), row["subject"], team)
