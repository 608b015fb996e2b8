"""What the agent asks of a resolver."""

from __future__ import annotations

from typing import Protocol

from gpuledger_agent.processes import ProcessFacts
from gpuledger_agent.records import Owner


class Resolver(Protocol):
    """Names the owner of a process from one source.

    `name` goes into `owner_source` of the rows it names.
    """

    @property
    def name(self) -> str:
        """Name of the resolver, as configured and as written into the books."""
        ...

    def wants(self, variable: str) -> bool:
        """Whether this resolver reads the environment variable of this name."""
        ...

    def resolve(self, facts: ProcessFacts) -> Owner | None:
        """The owner as far as this source knows it, None if it knows nothing.

        Values are as found; whoever calls cleans them. Never raises, never blocks for long.
        """
        ...
