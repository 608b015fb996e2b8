"""The section of traffic: which models carry it, and whether they have the GPUs."""

from __future__ import annotations

from collections.abc import Sequence

from gpuledger_collector.report.document import Section, counted, figures, table, words
from gpuledger_collector.report.model import Report, Row
from gpuledger_collector.report.units import bare, number

HEAD_PCT = 90
"""Share of the requests that the head carries, as in the rule planning_by_model_count."""

_TITLE = "Who carries the traffic"


def traffic(report: Report) -> Section:
    """The Pareto curve of requests by model, beside the share of GPUs."""
    rows = report.answers["traffic"].rows
    if not rows:
        lead: tuple[str, ...] = ("No inference server told of its traffic in this period.",)
        return Section("traffic", _TITLE, lead, answers=("traffic",))
    columns = (
        words("Model"),
        figures("Rank"),
        figures("Requests"),
        figures("Share of requests", "%"),
        figures("Cumulative share", "%"),
        figures("Allocated", "GPU-hours"),
        figures("Share of GPUs", "%"),
        figures("Cumulative share of GPUs", "%"),
    )
    shown = table("Models by requests", columns, (_cells(row) for row in rows))
    return Section("traffic", _TITLE, _lead(rows), (shown,), ("pareto",), ("traffic",))


def _lead(rows: Sequence[Row]) -> tuple[str, ...]:
    about = (
        "Plan by traffic, not by the number of models. Shares are among the models that inference"
        " servers told of in the period; what else ran on the fleet is left out."
    )
    known = [row for row in rows if row["request_share_pct"] is not None]
    head = [row for row in known if _asked_more_pct(row) < HEAD_PCT]
    if not head:
        return (about,)
    last = head[-1]
    share = number(last["cumulative_request_share_pct"], "%")
    gpus = number(last["cumulative_gpu_share_pct"], "%")
    carry = "carries" if len(head) == 1 else "carry"
    told = (
        f"{len(head):,} of {counted(len(rows), 'model')} {carry} {share} of the requests, with"
        f" {gpus} of the GPU time allocated to all of them."
    )
    return (about, told)


def _asked_more_pct(row: Row) -> float:
    """Share of the requests that models asked more than this one carry."""
    more: float = row["cumulative_request_share_pct"] - row["request_share_pct"]
    return round(more, 9)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row["model"] or "(not said)",
        bare(row["rank"]),
        bare(row["requests"]),
        bare(row["request_share_pct"]),
        bare(row["cumulative_request_share_pct"]),
        bare(row["allocated_gpu_hours"]),
        bare(row["gpu_share_pct"]),
        bare(row["cumulative_gpu_share_pct"]),
    )
