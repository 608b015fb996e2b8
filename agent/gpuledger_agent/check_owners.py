"""Who answers for owners on this host, and which rule named the owner of each process and grant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpuledger_agent.attribution.attributor import Attribution, Attributor
from gpuledger_agent.attribution.base import Kind
from gpuledger_agent.attribution.grants import granted_to
from gpuledger_agent.attribution.rules import FIELDS
from gpuledger_agent.check_result import Check, Verdict
from gpuledger_agent.devices.base import GpuInfo
from gpuledger_agent.processes import ProcessFacts

SHOWN = 8
"""Labels, or devices, that are named where there are many."""


def sources(attributor: Attributor) -> Iterator[Check]:
    """One result for each source that this host has, or another in its place."""
    for catalogue in attributor.catalogues:
        state, subject = catalogue.state, f"source {catalogue.name}"
        if not state.present:
            if state.reason:
                yield Check(Verdict.OK, subject, f"not on this host: its socket {state.reason}")
        elif state.up:
            having = len(catalogue.granted())
            text = f"{state.workloads} workloads, {having} with GPUs"
            yield Check(Verdict.OK, subject, text)
        else:
            yield Check(
                Verdict.WARN,
                subject,
                state.reason or "it has not answered yet",
                "let the agent's user open it, name another (--socket), or leave it out (--source)",
            )


def owner(facts: ProcessFacts, user: str, attributor: Attributor) -> Check:
    """The owner of a process, and which rules named it or what there was to go by."""
    found = attributor.process(facts, user)
    return _owner(f"pid {facts.key.pid} {facts.name}".rstrip(), found)


def granted(attributor: Attributor, gpus: Sequence[GpuInfo]) -> Iterator[Check]:
    """One result for each workload that was granted GPUs."""
    for one in attributor.granted():
        grants, unknown = granted_to(one.workload, gpus)
        found = attributor.grant(one)
        subject = f"grant of {len(grants)} GPUs by {one.source}"
        yield _owner(subject, found)
        if unknown:
            yield Check(
                Verdict.WARN,
                subject,
                f"{found.kind} {found.workload}: no GPU of this host is {_some(unknown)}",
                "if these are GPUs, report this name to gpuledger",
            )


def _owner(subject: str, found: Attribution) -> Check:
    where = "" if found.kind is Kind.PROCESS else f"{found.kind} {found.workload}, "
    if not found.owner.team:
        return Check(
            Verdict.WARN,
            subject,
            f"{where}nobody names its team; {_went_by(found)}",
            "label it with team, set GPULEDGER_TEAM in its environment, write a rule (--rules),"
            " or name one for the whole host (--team)",
        )
    named = "; ".join(
        f"{field} {one.value} (rule {one.rule!r}, {one.origin}, by {one.source})"
        for field in FIELDS
        if (one := found.named.get(field))
    )
    return Check(Verdict.OK, subject, f"{where}{named}")


def _went_by(found: Attribution) -> str:
    """What there was to go by: names only, since values may be secrets."""
    labels = sorted({name for piece in found.evidence for name in piece.labels})
    if labels:
        return f"labels: {_some(labels)}"
    return f"no labels from {', '.join(sorted({p.source for p in found.evidence})) or 'anyone'}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name) for name in names[:SHOWN]) + more
