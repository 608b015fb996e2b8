"""The section of telemetry: where the books are blind."""

from __future__ import annotations

from gpuledger_collector.report.document import Section, Table, counted, figures, table, words
from gpuledger_collector.report.model import Report
from gpuledger_collector.report.summary import observed_hours, unobserved
from gpuledger_collector.report.units import bare, moment, number, share

_REASONS = {
    "spool_full": "the host's spool was full",
    "spool_age": "the host's spool was too old",
    "disk": "the host's disk failed",
    "corrupt": "the host's spool was damaged",
    "refused": "a collector refused it",
    "stopped": "the agent did not run",
}


def coverage(report: Report) -> Section:
    """What telemetry saw of the fleet, and what it did not."""
    seen, hours = observed_hours(report), report.period.hours
    missed = hours - seen
    lead = [
        (
            f"The whole fleet. Telemetry saw {seen:,} of {counted(hours, 'hour')} of the period;"
            f" {number(unobserved(report), 'GPU-hours')} are known to be missing."
            " What was not seen is neither idle nor free, but unknown."
        )
    ]
    if missed:
        lead.append(
            f"Nothing at all is known of {counted(missed, 'hour')}: no figure here speaks of them."
        )
    lead += _horizon(report)
    gaps = report.answers["gaps"].rows
    tables = (_pools(report), *((_gaps(report),) if gaps else ()))
    answers = ("coverage", "hours", "gaps", "horizon")
    return Section("coverage", "What the books could not see", tuple(lead), tables, (), answers)


def _horizon(report: Report) -> list[str]:
    row = report.answers["horizon"].one()
    begins = row["hourly_from"] if row else None
    if begins is None or begins <= report.period.before:
        return []
    what = "This period and the previous one are" if begins > report.period.since else (
        "The previous period is")  # fmt: skip
    return [f"{what} not whole: the books are kept by the hour from {moment(begins)} on."]


def _pools(report: Report) -> Table:
    columns = (
        words("Pool"),
        words("GPU"),
        figures("Hours with telemetry", "hours"),
        figures("Observed", "GPU-hours"),
        figures("Unobserved", "GPU-hours"),
        figures("Seen of both"),
        figures("Held, use unmeasured", "GPU-hours"),
        figures("Books out of balance by", "GPU-hours"),
    )
    return table(
        "By pool",
        columns,
        (
            (
                row["pool"] or "(no name)",
                row["gpu_model"],
                bare(row["observed_hours"]),
                bare(row["capacity_gpu_hours"]),
                bare(row["unobserved_gpu_hours"]),
                share(
                    row["capacity_gpu_hours"],
                    row["capacity_gpu_hours"] + row["unobserved_gpu_hours"],
                ),
                bare(row["unmeasured_gpu_hours"]),
                bare(row["difference_gpu_hours"]),
            )
            for row in report.answers["coverage"].of(period="this")
        ),
    )


def _gaps(report: Report) -> Table:
    columns = (
        words("Host"),
        words("Why"),
        words("From"),
        words("Until"),
        figures("Missing", "hours"),
        figures("Lost", "rows"),
    )
    return table(
        "Hosts with gaps, the longest first",
        columns,
        (
            (
                f"{row['cluster']}/{row['host']}".lstrip("/"),
                str(_REASONS.get(row["reason"], row["reason"])),
                moment(row["first_missing"]),
                moment(row["last_missing"]),
                bare(row["missing_hours"]),
                bare(row["lost_rows"]) if row["lost_rows"] else "unknown",
            )
            for row in report.answers["gaps"].rows
        ),
    )
