"""Owner labels from the environment of the process itself."""

from __future__ import annotations

from gpuledger_agent.processes import ProcessFacts
from gpuledger_agent.records import Owner

VARIABLES = {
    "GPULEDGER_TEAM": "team",
    "GPULEDGER_MODEL": "model",
    "GPULEDGER_ENDPOINT": "endpoint",
    "GPULEDGER_USE_CASE": "use_case",
    "GPULEDGER_POOL": "pool",
}
"""Variable -> field of Owner."""


class EnvironmentResolver:
    """Reads GPULEDGER_TEAM, _MODEL, _ENDPOINT, _USE_CASE and _POOL."""

    name = "environment"

    def wants(self, variable: str) -> bool:
        """Whether this is one of our variables."""
        return variable in VARIABLES

    def resolve(self, facts: ProcessFacts) -> Owner | None:
        """The owner that the process names for itself."""
        named = {
            field: facts.environ[variable]
            for variable, field in VARIABLES.items()
            if facts.environ.get(variable)
        }
        return Owner(**named, source=self.name) if named else None
