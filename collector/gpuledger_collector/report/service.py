"""The section of objectives: whether they are met, and whether more GPUs would help."""

from __future__ import annotations

from gpuledger_collector.report.document import Section, figures, joined, table, words
from gpuledger_collector.report.model import Report, Row
from gpuledger_collector.report.units import UNKNOWN, bare, number

_TITLE = "Objectives against utilization"
_LEAD = (
    (
        "Who meets the objective needs no more GPUs. Who misses it on GPUs that are not full has to"
        " tune; only who misses it on full ones has a reason to grow. Load is the higher of SM use"
        " and KV cache use."
    ),
)
_VERDICTS = {
    "enough": "Met: no more GPUs.",
    "tune": "Missed with headroom: batch, quantize or route; no more GPUs.",
    "grow": "Missed while full: a request for more is justified.",
    "unclear": "Cannot be told: histograms are too coarse, or the load was not measured.",
    "no_objective": "No objective: nobody can say. Declare one with gpuledger slos apply.",
}


def service(report: Report) -> Section:
    """Attainment of every endpoint that inference servers told of."""
    rows = report.answers["slo"].rows
    if not rows:
        lead: tuple[str, ...] = ("No inference server told of its traffic in this period.",)
        return Section("slo", _TITLE, lead, answers=("slo",))
    columns = (
        words("Endpoint"),
        words("Verdict"),
        words("Team"),
        figures("Requests"),
        figures("Hours met / judged", "hours"),
        figures("Attainment, and promised", "%"),
        words("Objective"),
        figures("Worst hour's p95", "ms"),
        figures("Load, mean / peak", "%"),
        figures("GPUs", "GPUs"),
    )
    shown = table("Endpoints", columns, (_cells(row) for row in rows))
    return Section("slo", _TITLE, _LEAD, (shown,), ("objectives",), ("slo",))


def _cells(row: Row) -> tuple[str, ...]:
    judged = row["hours_judged"]
    return (
        joined(row["model"], row["endpoint"]) or "(not said)",
        _VERDICTS.get(row["verdict"], str(row["verdict"])),
        row["team"],
        bare(row["requests"]),
        f"{bare(row['hours_met'])} / {bare(judged)}" if judged else "-",
        _attainment(row) if judged else "-",
        _objective(row),
        bare(row["latency_ms_p95_worst_hour"]),
        f"{bare(row['load_pct_mean'])} / {bare(row['load_pct_peak'])}",
        bare(row["gpus"]),
    )


def _attainment(row: Row) -> str:
    low, high = bare(row["attainment_pct_low"]), bare(row["attainment_pct_high"])
    return f"{low if low == high else f'{low} to {high}'} / {bare(row['target_attainment_pct'])}"


def _objective(row: Row) -> str:
    latency, percentile = row["target_latency_ms"], row["target_percentile"]
    if latency is None:
        return "none"
    told = UNKNOWN if percentile is None else bare(percentile)
    return f"{told} % inside {number(latency, 'ms')}"
