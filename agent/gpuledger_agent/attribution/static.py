"""Owner labels that an operator set for the whole host."""

from __future__ import annotations

from gpuledger_agent.processes import ProcessFacts
from gpuledger_agent.records import Owner


class StaticResolver:
    """Gives every process of the host the same owner, where no other resolver named one."""

    name = "static"

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def wants(self, variable: str) -> bool:  # noqa: ARG002  # the protocol's parameter
        """No environment variable matters here."""
        return False

    def resolve(self, facts: ProcessFacts) -> Owner | None:  # noqa: ARG002  # the protocol's
        """The configured owner."""
        return self._owner
