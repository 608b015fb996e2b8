"""The review in a few sentences and numbers."""

from __future__ import annotations

from gpuledger_collector.moments import shown
from gpuledger_collector.report.document import Figure, counted
from gpuledger_collector.report.findings_of import findings_of
from gpuledger_collector.report.model import Report, Row
from gpuledger_collector.report.units import change, number, share


def key_figures(report: Report) -> tuple[Figure, ...]:
    """The numbers at the top."""
    this, previous = _periods(report)
    kinds = findings_of(report)
    reclaimable, usd = reclaimable_of(report)
    return (
        Figure(
            "Requested GPU time that was busy",
            share(this.get("busy_gpu_hours"), this.get("requested_gpu_hours")),
            f"{number(this.get('busy_gpu_hours'), 'GPU-hours')}"
            f" of {number(this.get('requested_gpu_hours'), 'GPU-hours')}",
        ),
        Figure(
            "Waste",
            number(this.get("waste_gpu_hours"), "GPU-hours"),
            versus(this, previous, "waste_gpu_hours"),
        ),
        Figure("Price of the waste", number(this.get("waste_usd"), "USD"), priced(this, previous)),
        Figure(
            "Could be given back",
            number(reclaimable, "GPUs"),
            f"price: {number(usd, 'USD a week')}",
        ),
        Figure(
            "Findings open",
            f"{len(kinds.new) + len(kinds.still):,}",
            f"{len(kinds.new):,} new, {len(kinds.resolved):,} resolved",
        ),
        Figure(
            "Hours with telemetry",
            f"{observed_hours(report):,} of {report.period.hours:,}",
            f"of these, {number(unobserved(report), 'GPU-hours')} are known to be missing",
        ),
    )


def sentences(report: Report) -> tuple[str, ...]:
    """What a manager must know."""
    this, previous = _periods(report)
    if not this:
        return (nothing(report),)
    told = [_funnel(this), _waste(this, previous)]
    reclaimable, usd = reclaimable_of(report)
    if reclaimable:
        told.append(
            f"{number(reclaimable, 'GPUs')} that are requested could be given back"
            f" (price: {number(usd, 'USD a week')})."
        )
    told += _short_pools(report)
    kinds = findings_of(report)
    told.append(
        f"{counted(len(kinds.new) + len(kinds.still), 'finding')} open, {len(kinds.new):,} of them"
        f" new; {len(kinds.resolved):,} resolved; {len(kinds.acknowledged):,} acknowledged."
    )
    return tuple(told)


def nothing(report: Report) -> str:
    """What to say where the books have nothing to say."""
    newest = report.newest_telemetry
    if newest is None:
        return (
            "The books are empty: no telemetry has come in yet. Run gpuledger-agent on a GPU host,"
            " or gpuledger demo to see a fleet."
        )
    whose = f"of team {report.team} " if report.team else ""
    return (
        f"The books have nothing {whose}in this period: nothing was requested and nothing ran."
        f" Newest telemetry of the fleet: {shown(newest)}."
    )


def versus(this: Row, previous: Row, column: str) -> str:
    """A figure against the previous period."""
    if not previous:
        return "no telemetry in the previous period"
    before = previous.get(column)
    if before == 0:
        return "none in the previous period"
    return f"{change(this.get(column), before)} ({number(before)} in the previous period)"


def priced(this: Row, previous: Row) -> str:
    """What a price leaves out; else how it stands to the previous period."""
    unpriced = this.get("unpriced_waste_gpu_hours")
    if unpriced:
        return f"{number(unpriced, 'GPU-hours')} without a price"
    return versus(this, previous, "waste_usd")


def reclaimable_of(report: Report) -> tuple[float | None, float | None]:
    """GPUs that requests could give back, and their price in USD a week; None: not known."""
    rows = [r for r in report.answers["requests"].rows if r["verdict"] != "not_in_force"]
    if not rows:
        return None, None
    prices = [r["reclaimable_usd_per_week"] for r in rows if r["reclaimable_gpus"]]
    unknown = any(price is None for price in prices)
    return sum(r["reclaimable_gpus"] for r in rows), None if unknown else sum(prices)


def unobserved(report: Report) -> float:
    """GPU-hours of the period that agents know to have missed."""
    rows = report.answers["coverage"].of(period="this")
    return float(sum(r["unobserved_gpu_hours"] for r in rows))


def observed_hours(report: Report, period: str = "this") -> int:
    """Hours of this period, or of the "previous" one, with telemetry of some GPU."""
    row = report.answers["hours"].one(period=period)
    return int(row["observed_hours"]) if row else 0


def _periods(report: Report) -> tuple[Row, Row]:
    return report.whole() or {}, report.whole("previous") or {}


def _funnel(this: Row) -> str:
    requested = this["requested_gpu_hours"]
    told = (
        f"{number(requested, 'GPU-hours')} were requested,"
        f" {number(this['allocated_gpu_hours'], 'GPU-hours')} allocated"
        f" and {number(this['busy_gpu_hours'], 'GPU-hours')} busy"
    )
    return told + (
        f": {share(this['busy_gpu_hours'], requested)} of what was asked for."
        if requested
        else "; nobody asked for what ran."
    )


def _waste(this: Row, previous: Row) -> str:
    price, unpriced = number(this["waste_usd"], "USD"), this["unpriced_waste_gpu_hours"]
    if unpriced and this["waste_usd"] is not None:
        price += f", and {number(unpriced, 'GPU-hours')} without a price"
    return (
        f"{number(this['waste_gpu_hours'], 'GPU-hours')} were wasted (price: {price}):"
        f" {versus(this, previous, 'waste_gpu_hours')}."
    )


def _short_pools(report: Report) -> list[str]:
    told = []
    for row in report.answers["headroom"].rows:
        where = f"Pool {row['pool'] or '(no name)'}, {row['gpu_model']}"
        if row["headroom_gpus"] < 0:
            told.append(
                f"{where}: {number(-row['headroom_gpus'], 'GPUs')} are promised or taken beyond"
                " its capacity."
            )
        elif row["days_to_full"] is not None and row["days_to_full"] <= 60:
            told.append(f"{where}: full in {number(row['days_to_full'], 'days')} at this trend.")
    return told
