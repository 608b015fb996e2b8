"""What an operator can set."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gpuledger_agent.attribution.labels import LabelError, clean
from gpuledger_agent.records import Owner

DEFAULT_COLLECTOR = "127.0.0.1:7670"
DEFAULT_SPOOL = Path("/var/lib/gpuledger-agent/spool.sqlite")


class ConfigError(ValueError):
    """A setting that cannot work; names it and the remedy in one line."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Settings of one agent.

    `window_s` divides 60, so that windows nest in minutes, hours and days. `pool` is the pool
    that the GPUs of this host belong to. `owner` is given to processes that no resolver names.
    `spool` None keeps the spool in memory.
    """

    collectors: tuple[str, ...] = (DEFAULT_COLLECTOR,)
    host: str = field(default_factory=socket.gethostname)
    cluster: str = ""
    pool: str = ""
    owner: Owner = Owner()
    labels: Mapping[str, str] = field(default_factory=dict)
    window_s: int = 10
    tick_s: float = 1.0
    spool: Path | None = DEFAULT_SPOOL
    spool_max_mib: int = 1024
    metrics_listen: str = "127.0.0.1:7672"
    health_listen: str = "127.0.0.1:7673"

    def __post_init__(self) -> None:
        """Raise ConfigError for settings that contradict each other or make no sense."""
        if self.window_s < 1 or 60 % self.window_s:
            raise ConfigError(f"window {self.window_s} s: take a divisor of 60 (1 to 60 seconds)")
        ticks = self.window_s / self.tick_s if self.tick_s > 0 else 0
        if not 0.1 <= self.tick_s or not ticks.is_integer():
            raise ConfigError(
                f"tick {self.tick_s} s: take at least 0.1 s, and a whole number of ticks per"
                f" window of {self.window_s} s"
            )
        if not self.host or len(self.host) > 253:
            raise ConfigError(f"host {self.host!r}: take a name of 1 to 253 characters")
        if self.spool_max_mib < 1:
            raise ConfigError(f"spool limit {self.spool_max_mib} MiB: take at least 1 MiB")
        for address in self.collectors:
            _check_address("collector", address)
        for name in ("host", "cluster", "pool"):
            _check_label(name, getattr(self, name))
        for name in ("team", "model", "endpoint", "use_case"):
            _check_label(name, getattr(self.owner, name))
        for name, value in self.labels.items():
            _check_label(f"labels.{name}", value)


def _check_label(name: str, value: str) -> None:
    try:
        if clean(value) != value:
            raise ConfigError(f"{name} {value!r}: leave out the surrounding space")
    except LabelError as error:
        raise ConfigError(f"{name} {value!r} {error}") from error


def _check_address(name: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise ConfigError(f"{name} {address!r}: write HOST:PORT")
