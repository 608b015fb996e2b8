"""Whose process is it? From a process or a granted workload to its owner, and why."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gpuledger_agent.attribution import cgroup, evidence
from gpuledger_agent.attribution.admission import Admission
from gpuledger_agent.attribution.base import Kind, Workload, WorkloadRef
from gpuledger_agent.attribution.catalogue import Catalogue, Granted
from gpuledger_agent.attribution.evidence import ENVIRONMENT, STATIC, UNIT
from gpuledger_agent.attribution.labels import unique
from gpuledger_agent.attribution.rules import FIELDS, METRICS, Evidence, Named, Rules
from gpuledger_agent.processes import ProcessFacts
from gpuledger_agent.records import Owner, ProcessKey

ORDER = (ENVIRONMENT, "docker", "podman", "cri", "kubelet", "slurm", UNIT, STATIC)
"""All sources; who speaks for itself comes first."""

POD_SOURCES = ("kubelet", "cri", "docker")
"""Whose word on the GPUs of pods counts: the first that answers."""

SETTLE_S = 2.0
"""How long the writing of a window waits for sources that are slow."""

PATHS = 4_096
"""Parsed cgroup paths that are remembered."""

_HASH = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Attribution:
    """The workload and the owner of a process or a grant, and what named each field.

    `whose` values they are, the workload's or a user's, says against whom they count. `metrics` is
    where the workload's own metrics are, if anybody says.
    """

    owner: Owner
    kind: Kind
    workload: str
    whose: str
    named: Mapping[str, Named] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    metrics: Named | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """What an attribution was made of: the same objects give the same result."""

    basis: tuple[object, ...]
    attribution: Attribution


class Attributor:
    """Weighs what all sources say, by the rules. Used by one thread; `notice` by any.

    `order` names the sources that count, the first to name a field decides it. Of workloads inside
    workloads the outermost that names an owner counts. `static` is the owner of whatever nobody
    names.
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
        self._admission = Admission(rules, static)
        self._refs: OrderedDict[str, tuple[WorkloadRef, ...]] = OrderedDict()
        self._processes: dict[ProcessKey, _Known] = {}
        self._grants: dict[tuple[str, str, str], _Known] = {}

    @property
    def catalogues(self) -> Sequence[Catalogue]:
        """What is known of each source, in their order."""
        return tuple(self._catalogues.values())

    @property
    def labels_refused(self) -> int:
        """Label values left out because they cannot stand in the books."""
        return self._admission.refused

    @property
    def labels_excess(self) -> int:
        """Label values left out because there are too many distinct ones."""
        return self._admission.excess

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
        return next((self._catalogues[name] for name in POD_SOURCES if self._is_up(name)), None)

    def _has_ended(self, pod: Workload) -> bool:
        """Kubelets before 1.34 list ended pods until they are deleted (kubernetes#119423)."""
        return self._is_up("cri") and self._catalogues["cri"].named(pod.kind, pod.name) is None

    def process(self, facts: ProcessFacts, user: str) -> Attribution:
        """Workload and owner of a process; made anew when a source knows something new."""
        refs = self._workload_refs(facts.cgroup)
        found = self._found(refs)
        basis = (facts, user, *found)
        known = self._processes.get(facts.key)
        # By identity: a catalogue keeps its object for as long as that says the same.
        if known is None or not all(map(_is, known.basis, basis)):
            known = _Known(basis, self._weigh_process(facts, user, refs, found))
            self._processes[facts.key] = known
        return known.attribution

    def grant(self, granted: Granted) -> Attribution:
        """Owner of a workload that has GPUs, with a process on them or not."""
        workload = granted.workload
        basis = tuple(
            workload if c.name == granted.source else self._namesake(c, workload)
            for c in self._catalogues.values()
        )
        key = _grant_key(granted)
        known = self._grants.get(key)
        if known is None or not all(map(_is, known.basis, basis)):
            known = self._grants[key] = _Known(basis, self._weigh_grant(workload, basis))
        return known.attribution

    def keep_only(self, processes: set[ProcessKey], granted: Sequence[Granted]) -> None:
        """Forget all other processes and grants."""
        for gone in self._processes.keys() - processes:
            del self._processes[gone]
        for ended in self._grants.keys() - set(map(_grant_key, granted)):
            del self._grants[ended]
        for known in (*self._processes.values(), *self._grants.values()):
            self._admission.still_used(known.attribution.named, known.attribution.whose)

    def _workload_refs(self, path: str) -> tuple[WorkloadRef, ...]:
        refs = self._refs.get(path)
        if refs is None:
            refs = self._refs[path] = evidence.credible(cgroup.refs(path))
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

    def _namesake(self, catalogue: Catalogue, workload: Workload) -> Workload | None:
        """What another source calls by the same name. Containers may share a name and nothing else.

        Who may start containers with Docker can name and label one like a pod's.
        """
        if workload.kind is Kind.CONTAINER or (catalogue.name == "docker" and self._is_up("cri")):
            return None
        return catalogue.named(workload.kind, workload.name)

    def _is_up(self, source: str) -> bool:
        catalogue = self._catalogues.get(source)
        return catalogue is not None and catalogue.state.up

    def _weigh_process(
        self,
        facts: ProcessFacts,
        user: str,
        refs: tuple[WorkloadRef, ...],
        found: tuple[Workload | None, ...],
    ) -> Attribution:
        layers = list(evidence.layers(refs, tuple(self._catalogues), found))
        own = Evidence(ENVIRONMENT, Kind.PROCESS, facts.name, environ=facts.environ)
        said = [(-1, own), *((n, piece) for n, layer in enumerate(layers) for piece in layer[1])]
        said = [(n, replace(piece, command=facts.command, user=user)) for n, piece in said]
        kind, name = Kind.PROCESS, unique(f"{facts.name or 'pid'}[{facts.key.pid}]")
        if layers:
            # The outermost that says something of its owner, else the outermost.
            speaks = (layer for layer in layers if self._rules.apply(layer[1], _plain_owner))
            ref, pieces = next(speaks, layers[0])
            known = next((piece.name for piece in pieces if piece.name), "")
            kind, name = ref.kind, _name(known, ref.id or ref.pod_uid)
        return self._weigh(said, kind, name, user)

    def _weigh_grant(self, workload: Workload, all_say: Sequence[Workload | None]) -> Attribution:
        said = [
            (0, piece)
            for source, one in zip(self._catalogues, all_say, strict=True)
            if one is not None
            for piece in evidence.of_workload(source, one)
        ]
        name = _name(workload.name, workload.id)
        return self._weigh(said, workload.kind, name, workload.user)

    def _weigh(
        self, said: Sequence[tuple[int, Evidence]], kind: Kind, name: str, user: str
    ) -> Attribution:
        """Apply the rules to what is said of layers (0 the outermost), in order of precedence."""
        # A user can start many jobs and processes.
        whose = f"user {user}" if user and kind not in _BOXES else f"{kind} {name}"
        counted = [pair for pair in said if pair[1].source in self._order]
        ranked = [piece for _, piece in sorted(counted, key=self._rank)]
        named = self._rules.apply(
            ranked, lambda fact, value: self._admission.accept(fact, value, whose)
        )
        metrics = named.pop(METRICS, None)
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
        return Attribution(owner, kind, name, whose, named, tuple(ranked), metrics)

    def _rank(self, pair: tuple[int, Evidence]) -> tuple[int, int, int]:
        """Sources of workloads stand together: of these, the outer workload goes first."""
        layer, piece = pair
        place = self._order.index(piece.source)
        if piece.source in self._catalogues:
            return min(map(self._order.index, self._catalogues)), layer, place
        return place, layer, 0


_BOXES = frozenset({Kind.CONTAINER, Kind.POD})


def _name(name: str, identifier: str) -> str:
    """A workload's name for the books; by its id, a container's in short, where it has none."""
    short = identifier[:12] if _HASH.fullmatch(identifier) else identifier
    return unique(name.strip() or short)


def _grant_key(granted: Granted) -> tuple[str, str, str]:
    workload = granted.workload
    return granted.source, workload.kind, workload.id or workload.name


def _plain_owner(fact: str, value: str) -> str | None:
    return value if fact in FIELDS else None


def _is(one: object, other: object) -> bool:
    return one is other
