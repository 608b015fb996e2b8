"""The traffic of one window, as it goes into the books."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpuledger_agent.attribution.base import Kind
from gpuledger_agent.records import Owner, Window
from gpuledger_agent.serving.delta import Served


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one server served of one model in one window.

    `observed_ms` is the part of the window that the figures cover. `server` is where it was asked,
    `served_model` what it calls the model, "" if it does not say.
    """

    window: Window
    owner: Owner
    workload_kind: Kind
    workload: str
    server: str
    server_kind: str
    served_model: str
    observed_ms: int
    served: Served


def rows(
    window: Window,
    owner: Owner,
    workload: tuple[Kind, str],
    server: tuple[str, str],
    observed_ms: int,
    models: Mapping[str, Served],
) -> list[Traffic]:
    """A row for each model. `server` is its address and its kind."""
    return [
        Traffic(window, owner, *workload, *server, model, observed_ms, served)
        for model, served in models.items()
    ]
