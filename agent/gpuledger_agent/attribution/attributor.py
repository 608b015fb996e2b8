"""Whose process is it? From a process or a granted workload to its owner, and why."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gpuledger_agent.attribution import cgroup
from gpuledger_agent.attribution.base import Kind, Workload, WorkloadRef
from gpuledger_agent.attribution.cardinality import Cardinality
from gpuledger_agent.attribution.catalogue import Catalogue, Granted
from gpuledger_agent.attribution.labels import LabelError, clean
from gpuledger_agent.attribution.rules import FIELDS, Evidence, Named, Rules
from gpuledger_agent.log import Once
from gpuledger_agent.processes import ProcessFacts
from gpuledger_agent.records import Owner, ProcessKey

log = logging.getLogger(__name__)

ENVIRONMENT, UNIT, STATIC = "environment", "unit", "static"
"""Sources that need no asking: the process itself, its cgroup, the agent's own settings."""

UNATTRIBUTED = "unattributed"

ORDER = (ENVIRONMENT, "docker", "podman", "cri", "kubelet", "slurm", UNIT, STATIC)
"""All sources; who speaks for itself comes first."""

POD_SOURCES = ("kubelet", "cri", "docker")
"""Whose word on the GPUs of pods counts: the first that answers."""

SETTLE_S = 2.0
"""How long the writing of a window waits for sources that are slow."""

PATHS = 4_096
"""Parsed cgroup paths that are remembered."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """The workload and the owner of a process or a grant, and what named each field."""

    owner: Owner
    kind: Kind
    workload: str
    named: Mapping[str, Named] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class _Known:
    """What an attribution was made of: the same objects give the same result."""

    basis: tuple[Workload | None, ...]
    attribution: Attribution


class Attributor:
    """Weighs what all sources say, by the rules. Used by one thread; `notice` by any.

    `order` names the sources that count, the first to name a field decides it. Of workloads inside
    workloads the outermost that names an owner counts. `static` is the owner of whatever nobody
    names. `labels_refused` counts values that cannot stand in the books, `labels_excess` those
    beyond the host's limit of distinct ones.
    """

    def __init__(
        self,
        catalogues: Sequence[Catalogue],
        rules: Rules,
        static: Owner,
        order: Sequence[str] = ORDER,
    ) -> None:
        self._catalogues = {c.name: c for name in order for c in catalogues if c.name == name}
        self._order = tuple(order)
        self._rules = rules
        self._static = static
        self._cardinality = Cardinality()
        self._refs: OrderedDict[str, tuple[WorkloadRef, ...]] = OrderedDict()
        self._processes: dict[ProcessKey, _Known] = {}
        self._grants: dict[tuple[str, str, str], _Known] = {}
        self._once = Once(log)
        self.labels_refused = 0

    @property
    def catalogues(self) -> Sequence[Catalogue]:
        """What is known of each source, in their order."""
        return tuple(self._catalogues.values())

    @property
    def labels_excess(self) -> int:
        """Label values left out because the host has too many distinct ones."""
        return self._cardinality.refused

    def notice(self, facts: ProcessFacts) -> None:
        """A process came: ask for its workloads now, while they are there. Does not block."""
        self._found(self._workload_refs(facts.cgroup))

    def start(self) -> None:
        """Let all sources be asked."""
        for catalogue in self._catalogues.values():
            catalogue.start()

    def stop(self) -> None:
        """Ask them no more."""
        for catalogue in self._catalogues.values():
            catalogue.stop()

    def settle(self) -> None:
        """Wait until sources have answered what they were asked, SETTLE_S at most."""
        deadline = time.monotonic() + SETTLE_S
        for catalogue in self._catalogues.values():
            catalogue.settle(deadline)

    def granted(self) -> list[Granted]:
        """All workloads that have GPUs, each by the source that knows it best."""
        found: dict[str, Granted] = {}
        best = self._best_of_pods()
        for catalogue in self._catalogues.values():
            for granted in catalogue.granted():
                workload = granted.workload
                if workload.kind is Kind.POD and (
                    catalogue is not best or self._has_ended(workload)
                ):
                    continue
                # podman-docker has both sockets lead to the same containers.
                found.setdefault(workload.id or f"{workload.name} {workload.share}", granted)
        return list(found.values())

    def _best_of_pods(self) -> Catalogue | None:
        """The kubelet gives pods their GPUs; runtimes only see what became of it."""
        sources = (self._catalogues.get(name) for name in POD_SOURCES)
        return next((c for c in sources if c is not None and c.state.up), None)

    def _has_ended(self, pod: Workload) -> bool:
        """Kubelets before 1.34 list ended pods until they are deleted (kubernetes#119423)."""
        cri = self._catalogues.get("cri")
        return cri is not None and cri.state.up and cri.named(pod.kind, pod.name) is None

    def process(self, facts: ProcessFacts, user: str) -> Attribution:
        """Workload and owner of a process; made anew when a source knows something new."""
        refs = self._workload_refs(facts.cgroup)
        found = self._found(refs)
        known = self._processes.get(facts.key)
        # By identity: a catalogue keeps its object for as long as that says the same.
        if known is not None and all(map(_is, known.basis, found)):
            return known.attribution
        attribution = self._weigh_process(facts, user, refs, found)
        self._processes[facts.key] = _Known(found, attribution)
        return attribution

    def grant(self, granted: Granted) -> Attribution:
        """Owner of a workload that has GPUs, with a process on them or not."""
        workload = granted.workload
        others = tuple(
            workload if c.name == granted.source else _namesake(c, workload)
            for c in self._catalogues.values()
        )
        key = _grant_key(granted)
        known = self._grants.get(key)
        if known is not None and all(map(_is, known.basis, others)):
            return known.attribution
        evidence = [
            (0, piece)
            for source, other in zip(self._catalogues, others, strict=True)
            if other is not None
            for piece in _evidence(source, other)
        ]
        name = self._name(workload.name, workload.id)
        attribution = self._weigh(evidence, workload.kind, name, key)
        self._grants[key] = _Known(others, attribution)
        return attribution

    def keep_only(self, processes: set[ProcessKey], granted: Sequence[Granted]) -> None:
        """Forget all other processes and grants."""
        for gone in self._processes.keys() - processes:
            del self._processes[gone]
        for ended in self._grants.keys() - set(map(_grant_key, granted)):
            del self._grants[ended]
        now = time.monotonic()
        for known in (*self._processes.values(), *self._grants.values()):
            for fact, one in known.attribution.named.items():
                self._cardinality.admit(fact, one.value, now)

    def _workload_refs(self, path: str) -> tuple[WorkloadRef, ...]:
        refs = self._refs.get(path)
        if refs is None:
            refs = self._refs[path] = _credible(cgroup.refs(path))
            if len(self._refs) > PATHS:
                self._refs.popitem(last=False)
        return refs

    def _found(self, refs: tuple[WorkloadRef, ...]) -> tuple[Workload | None, ...]:
        """What each source knows of each workload, by workload and then source."""
        return tuple(
            catalogue.find(ref)
            for ref in refs
            if ref.kind is not Kind.UNIT
            for catalogue in self._catalogues.values()
        )

    def _weigh_process(
        self,
        facts: ProcessFacts,
        user: str,
        refs: tuple[WorkloadRef, ...],
        found: tuple[Workload | None, ...],
    ) -> Attribution:
        own = Evidence(
            source=ENVIRONMENT,
            kind=Kind.PROCESS,
            name=facts.name,
            environ=facts.environ,
            command=facts.command,
            user=user,
        )
        layers = list(self._layers(refs, found))
        evidence = [(-1, own)]
        evidence += [
            (n, replace(piece, command=facts.command, user=user))
            for n, layer in enumerate(layers)
            for piece in layer[1]
        ]
        pid = f"[{facts.key.pid}]"
        kind, name = Kind.PROCESS, self._name(f"{facts.name or 'pid'}{pid}", pid)
        if layers:
            # The outermost that says something of its owner, else the outermost.
            speaks = (layer for layer in layers if self._rules.apply(layer[1], _plain))
            ref, pieces = next(speaks, layers[0])
            known = next((piece.name for piece in pieces if piece.name), "")
            kind, name = ref.kind, self._name(known, ref.id or ref.pod_uid)
        return self._weigh(evidence, kind, name, facts.key)

    def _layers(
        self, refs: tuple[WorkloadRef, ...], found: tuple[Workload | None, ...]
    ) -> Iterator[tuple[WorkloadRef, list[Evidence]]]:
        """Each workload around a process, outermost first, with what sources know of it."""
        known = iter(found)
        for ref in refs:
            if ref.kind is Kind.UNIT:
                yield ref, [Evidence(source=UNIT, kind=ref.kind, name=_unit_name(ref))]
                continue
            pieces: list[Evidence] = []
            for source in self._catalogues:
                workload = next(known)
                if workload is not None:
                    pieces += _evidence(source, workload)
            yield ref, pieces

    def _weigh(
        self, evidence: Sequence[tuple[int, Evidence]], kind: Kind, name: str, subject: object
    ) -> Attribution:
        """Apply the rules to evidence of layers (0 the outermost), in order of precedence."""
        counted = [pair for pair in evidence if pair[1].source in self._order]
        ranked = [piece for _, piece in sorted(counted, key=self._rank)]
        named = self._rules.apply(ranked, lambda field, value: self._accept(field, value, subject))
        if STATIC in self._order:
            for fact in FIELDS:
                value = getattr(self._static, fact)
                if value and fact not in named:
                    named[fact] = Named(value, "the agent's settings", STATIC, f"--{fact}")
        by_weight = [named[fact].source for fact in FIELDS if fact in named]
        owner = Owner(
            **{fact: one.value for fact, one in named.items()},
            source=by_weight[0] if by_weight else "",
        )
        return Attribution(owner, kind, name, named, tuple(ranked))

    def _rank(self, pair: tuple[int, Evidence]) -> tuple[int, int, int]:
        """Sources of workloads stand together: of these, the outer workload goes first."""
        layer, piece = pair
        place = self._order.index(piece.source)
        if piece.source in self._catalogues:
            return min(map(self._order.index, self._catalogues)), layer, place
        return place, layer, 0

    def _accept(self, fact: str, value: str, subject: object) -> str | None:
        """The value as it goes into the books, None if it cannot."""
        try:
            text = clean(value)
            if fact == "team" and text == UNATTRIBUTED:
                raise LabelError("is what the books call nobody")
        except LabelError as error:
            self.labels_refused += 1
            self._once.warning(
                ("label", subject, fact),
                "event=label_refused subject=%r field=%s reason=%r",
                *(subject, fact, str(error)),
            )
            return None
        if not text or self._cardinality.admit(fact, text, time.monotonic()):
            return text or None
        self._once.warning(
            ("excess", fact),
            "event=labels_excess field=%s further values are booked as not named",
            fact,
        )
        return None

    def _name(self, name: str, identifier: str) -> str:
        """A workload's name for the books; its id where the name cannot stand there."""
        try:
            return clean(name) or identifier[:12]
        except LabelError:
            return identifier[:12]


def _credible(refs: tuple[WorkloadRef, ...]) -> tuple[WorkloadRef, ...]:
    """Up to the outermost container: cgroups inside are named by whoever is root in there."""
    inside = (n for n, ref in enumerate(refs, 1) if ref.kind in {Kind.CONTAINER, Kind.POD})
    return refs[: next(inside, len(refs))]


def _unit_name(ref: WorkloadRef) -> str:
    """A user's own unit must not pass for the system's of the same name."""
    return ref.id if ref.user is None else f"user-{ref.user}/{ref.id}"


def _evidence(source: str, workload: Workload) -> list[Evidence]:
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


def _namesake(catalogue: Catalogue, workload: Workload) -> Workload | None:
    """What another source calls by the same name. Containers may share a name and nothing else."""
    if workload.kind is Kind.CONTAINER:
        return None
    return catalogue.named(workload.kind, workload.name)


def _grant_key(granted: Granted) -> tuple[str, str, str]:
    workload = granted.workload
    return granted.source, workload.kind, workload.id or workload.name


def _plain(_: str, value: str) -> str | None:
    return value or None


def _is(one: object, other: object) -> bool:
    return one is other
