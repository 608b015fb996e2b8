"""Build the document of a review: its sections in the order in which they are read."""

from __future__ import annotations

from gpuledger_collector.report import (
    books,
    capacity,
    coverage,
    found,
    profiles,
    requests,
    service,
    summary,
    traffic,
)
from gpuledger_collector.report.document import Document, Section
from gpuledger_collector.report.model import Report
from gpuledger_collector.report.units import moment


def review(report: Report) -> Document:
    """The document of a report."""
    whose = f"team {report.team}" if report.team else "the whole fleet"
    return Document(
        title=f"GPU capacity review: {whose}",
        about=_about(report),
        figures=summary.key_figures(report),
        sections=(
            Section("summary", "In short", summary.sentences(report)),
            books.funnel(report),
            books.waste(report),
            requests.requests(report),
            profiles.profiles(report),
            service.service(report),
            traffic.traffic(report),
            capacity.headroom(report),
            found.findings(report),
            coverage.coverage(report),
        ),
    )


def _about(report: Report) -> tuple[str, ...]:
    period = report.period
    newest = report.newest_telemetry
    return (
        (
            f"{moment(period.since)} to {moment(period.until)} ({period.hours:,} hours), beside the"
            f" {period.hours:,} hours before."
        ),
        (
            f"Made {moment(report.made_at)} by gpuledger {report.version};"
            f" newest telemetry: {moment(newest) if newest else 'none at all'}."
            " All times are UTC, all money is USD."
        ),
    )
