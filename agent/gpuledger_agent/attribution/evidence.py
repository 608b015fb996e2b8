"""What all sources together say of a process, ordered by the workloads that it lies in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from gpuledger_agent.attribution.base import Kind, Workload, WorkloadRef
from gpuledger_agent.attribution.rules import Evidence

ENVIRONMENT, UNIT, STATIC = "environment", "unit", "static"
"""Sources that need no asking: the process itself, its cgroup, the agent's own settings."""


def credible(refs: tuple[WorkloadRef, ...]) -> tuple[WorkloadRef, ...]:
    """Up to the outermost container: cgroups inside are named by whoever is root in there."""
    inside = (n for n, ref in enumerate(refs, 1) if ref.kind in {Kind.CONTAINER, Kind.POD})
    return refs[: next(inside, len(refs))]


def of_workload(source: str, workload: Workload) -> list[Evidence]:
    """What a source says of a workload, and what its environment says for itself."""
    said = Evidence(
        source=source,
        kind=workload.kind,
        name=workload.name,
        labels=workload.labels,
        environ=workload.environ,
        image=workload.image,
        namespace=workload.namespace,
        user=workload.user,
    )
    return [replace(said, source=ENVIRONMENT, labels={}), said] if workload.environ else [said]


def layers(
    refs: tuple[WorkloadRef, ...], sources: Sequence[str], found: Sequence[Workload | None]
) -> Iterator[tuple[WorkloadRef, list[Evidence]]]:
    """Each workload around a process, outermost first, with what sources know of it.

    `found` is what each source knows, by workload (units left out) and then source.
    """
    known = iter(found)
    for ref in refs:
        if ref.kind is Kind.UNIT:
            yield ref, [Evidence(source=UNIT, kind=ref.kind, name=_unit_name(ref))]
            continue
        workloads = [(source, next(known)) for source in sources]
        yield ref, [e for source, w in workloads if w is not None for e in of_workload(source, w)]


def _unit_name(ref: WorkloadRef) -> str:
    """A user's own unit must not pass for the system's of the same name."""
    return ref.id if ref.user is None else f"user-{ref.user}/{ref.id}"
