"""Rules: from what sources say about a workload to the fields of its owner, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from gpuledger_agent.attribution.base import MAX_VALUE_BYTES
from gpuledger_agent.attribution.globs import Globs
from gpuledger_agent.attribution.template import Reference, Template

FIELDS = ("team", "model", "endpoint", "use_case", "pool")
"""Fields of an owner, as records.Owner has them."""

METRICS = "metrics"
"""What rules can name beside: where the workload's own metrics are (serving/place.py)."""

NAMES = (*FIELDS, METRICS)
"""All that rules can name."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one source says about a subject, as found: any text, of any size.

    `source` is the name of the source; `kind` and `name` are the workload's. `labels` hold labels
    and annotations, `environ` the variables that rules ask for.
    """

    source: str
    kind: str = ""
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    namespace: str = ""
    command: str = ""
    user: str = ""

    def fact(self, reference: Reference) -> str:
        """The fact without space around it, "" if absent; no more of it than a value may have."""
        match reference.kind:
            case "label":
                text = self.labels.get(reference.name, "")
            case "env":
                text = self.environ.get(reference.name, "")
            case "workload":
                text = self.name
            case kind:
                text = str(getattr(self, kind))
        return text[:MAX_VALUE_BYTES].strip()


@dataclass(frozen=True, slots=True)
class Named:
    """One field of an owner, or where its metrics are.

    And why: which rule, of which source's evidence, out of what.
    """

    value: str
    rule: str
    source: str
    origin: str


Accept = Callable[[str, str], str | None]
"""Field and value as found -> the value as it goes into the books, None (or "") if it cannot."""


class Stage(Enum):
    """When a rule is tried, in this order."""

    OVERRIDE = "override"
    USUAL = "usual"
    FALLBACK = "fallback"


@dataclass(frozen=True, slots=True)
class Rule:
    """Names fields of owners, and where metrics are, of whatever meets all conditions.

    Of the templates of a field the first counts that evidence can fill with an acceptable value.
    """

    name: str
    conditions: tuple[tuple[Reference, Globs], ...]
    fields: Mapping[str, tuple[Template, ...]]
    stage: Stage = Stage.USUAL

    def apply(self, evidence: Evidence, accept: Accept, named: dict[str, Named]) -> None:
        """Add to `named` what this evidence names by this rule and nobody named before."""
        missing = [one for one in self.fields if one not in named]
        if not missing or not all(g.fit(evidence.fact(ref)) for ref, g in self.conditions):
            return
        for one in missing:
            for template in self.fields[one]:
                found = template.fill(evidence.fact)
                value = accept(one, found) if found else None
                if value:
                    origin = template.origin(evidence.fact) or self._reason()
                    named[one] = Named(value, self.name, evidence.source, origin)
                    break

    def _reason(self) -> str:
        # The pattern, not what it met: a command line may hold secrets.
        met = ", ".join(f"{ref}={globs.text}" for ref, globs in self.conditions)
        return met or "no condition"


class Rules:
    """All rules, in order."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._stages = [[r for r in rules if r.stage is stage] for stage in Stage]
        self._used = {ref for rule in rules for ref, _ in rule.conditions} | {
            ref
            for rule in rules
            for templates in rule.fields.values()
            for template in templates
            for ref in template.references
        }

    def variables(self) -> frozenset[str]:
        """The environment variables that rules read; no other is of interest."""
        return frozenset(ref.name for ref in self._used if ref.kind == "env")

    def own_values(self) -> frozenset[tuple[str, str]]:
        """Values that rules write out themselves, with the field that each is for."""
        return frozenset(
            (field, value)
            for rule in self.rules
            for field, templates in rule.fields.items()
            for template in templates
            if (value := template.literal) is not None
        )

    @property
    def wants_command(self) -> bool:
        """Whether any rule looks at command lines."""
        return any(ref.kind == "command" for ref in self._used)

    def apply(self, evidence: Sequence[Evidence], accept: Accept) -> dict[str, Named]:
        """The fields that are named, each by the first that names it: field -> why.

        `evidence` in order of precedence. First come the rules that override, then the usual ones,
        then those to fall back on; in each stage the evidence in order, for each piece the rules in
        order. A value that `accept` turns down leaves the field to whoever comes next.
        """
        named: dict[str, Named] = {}
        for stage in self._stages:
            for one in evidence:
                for rule in stage:
                    if len(named) == len(NAMES):
                        return named
                    rule.apply(one, accept, named)
        return named
