"""Owner of a process: what the resolvers say, field by field, cleaned."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from gpuledger_agent.attribution.base import Resolver
from gpuledger_agent.attribution.labels import LabelError, clean
from gpuledger_agent.log import Once
from gpuledger_agent.processes import ProcessFacts
from gpuledger_agent.records import Owner, ProcessKey

FIELDS = ("team", "model", "endpoint", "use_case", "pool")

log = logging.getLogger(__name__)


class Attributor:
    """Asks resolvers in order; the first to name a field decides it.

    `labels_refused` counts label values that could not stand in the books.
    """

    def __init__(self, resolvers: Sequence[Resolver]) -> None:
        self._resolvers = tuple(resolvers)
        self._owners: dict[ProcessKey, Owner] = {}
        self._once = Once(log)
        self.labels_refused = 0

    def wants(self, variable: str) -> bool:
        """Whether any resolver reads this environment variable."""
        return any(r.wants(variable) for r in self._resolvers)

    def owner(self, facts: ProcessFacts) -> Owner:
        """The owner of a process; asked of the resolvers once in the life of the process."""
        known = self._owners.get(facts.key)
        if known is None:
            known = self._owners[facts.key] = self._resolve(facts)
        return known

    def keep_only(self, alive: set[ProcessKey]) -> None:
        """Forget the owners of all other processes."""
        for key in self._owners.keys() - alive:
            del self._owners[key]

    def _resolve(self, facts: ProcessFacts) -> Owner:
        named: dict[str, str] = {}
        source = ""
        for resolver in self._resolvers:
            owner = resolver.resolve(facts)
            if owner is None:
                continue
            for field in FIELDS:
                value = self._clean(getattr(owner, field), field, facts, resolver.name)
                if value and field not in named:
                    named[field] = value
                    if field == "team" or not source:
                        source = resolver.name
        return Owner(**named, source=source)

    def _clean(self, value: str, field: str, facts: ProcessFacts, resolver: str) -> str:
        try:
            return clean(value)
        except LabelError as error:
            self.labels_refused += 1
            self._once.warning(
                ("label", facts.key, field),
                "event=label_refused pid=%d process=%r field=%s resolver=%s reason=%r",
                *(facts.key.pid, facts.name, field, resolver, str(error)),
            )
            return ""
