"""What an operator can set."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpuledger_agent.attribution import rules_file
from gpuledger_agent.attribution.attributor import ORDER
from gpuledger_agent.attribution.labels import LabelError, clean
from gpuledger_agent.attribution.rules import Rules
from gpuledger_agent.attribution.sources import SOCKETS
from gpuledger_agent.dial import Trust
from gpuledger_agent.records import Owner
from gpuledger_agent.serving import families
from gpuledger_agent.serving.families import Family

DEFAULT_COLLECTOR = "127.0.0.1:7670"
MIN_TICK_S = 0.1
"""Drivers sample a few times a second; reading them more often tells nothing new."""

DEFAULT_SPOOL = Path("/var/lib/gpuledger-agent/spool.sqlite")


class ConfigError(ValueError):
    """A setting that cannot work; names it and the remedy in one line."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Settings of one agent.

    `window_s` divides 60, so that windows nest in minutes, hours and days. `pool` is the pool
    that the GPUs of this host belong to. `owner` is given to processes that no source names.
    `sources` count in this order; `sockets` says where those are that are not in their usual
    place. `scrape` is whether inference servers are asked for their metrics, `families` the kinds
    of them that are known. `spool` None keeps the spool in memory. `trust` says how collectors are
    spoken with; `insecure` allows plaintext beyond this host.
    """

    collectors: tuple[str, ...] = (DEFAULT_COLLECTOR,)
    trust: Trust = field(default_factory=Trust)
    insecure: bool = False
    host: str = field(default_factory=socket.gethostname)
    cluster: str = ""
    pool: str = ""
    owner: Owner = Owner()
    labels: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ORDER
    sockets: Mapping[str, Path] = field(default_factory=dict)
    rules: Rules = field(default_factory=rules_file.load)
    scrape: bool = True
    families: tuple[Family, ...] = field(default_factory=families.load)
    window_s: int = 10
    tick_s: float = 1.0
    spool: Path | None = DEFAULT_SPOOL
    spool_max_mib: int = 1024
    metrics_listen: str = "127.0.0.1:7672"
    health_listen: str = "127.0.0.1:7673"

    def __post_init__(self) -> None:
        """Raise ConfigError for settings that contradict each other or make no sense."""
        _check_times(self.window_s, self.tick_s)
        if not self.host or len(self.host) > 253:
            raise ConfigError(f"host {self.host!r}: take a name of 1 to 253 characters")
        if self.spool_max_mib < 1:
            raise ConfigError(f"spool limit {self.spool_max_mib} MiB: take at least 1 MiB")
        if not self.collectors:
            raise ConfigError("no collector: name at least one HOST:PORT")
        for address in (self.metrics_listen, self.health_listen):
            if address:
                host_port(address)
        check_speech(self.trust, self.collectors, insecure=self.insecure)
        _check_sources(self.sources, self.sockets)
        for name in ("host", "cluster", "pool"):
            _check_label(name, getattr(self, name))
        for name in ("team", "model", "endpoint", "use_case"):
            _check_label(name, getattr(self.owner, name))
        for name, value in self.labels.items():
            _check_label(f"labels.{name}", value)


def _check_times(window_s: int, tick_s: float) -> None:
    if window_s < 1 or 60 % window_s:
        raise ConfigError(f"window {window_s} s: take a divisor of 60 (1 to 60 seconds)")
    if tick_s < MIN_TICK_S or not (window_s / tick_s).is_integer():
        raise ConfigError(
            f"tick {tick_s} s: take at least {MIN_TICK_S} s, and a whole number of ticks per"
            f" window of {window_s} s"
        )


def check_speech(trust: Trust, collectors: Iterable[str], *, insecure: bool) -> None:
    """Raise ConfigError if collectors at these addresses cannot, or should not, be spoken with."""
    addresses = [(address, host_port(address)[0]) for address in collectors]
    tls = trust.tls
    if tls and not tls.ca:
        raise ConfigError("TLS needs --tls-ca: the CA that signed the collector's certificate")
    if tls and (tls.certificate is None) != (tls.key is None):
        raise ConfigError("our certificate needs both --tls-cert and --tls-key")
    if trust.server_name and not tls:
        raise ConfigError("--tls-server-name without TLS: give --tls-ca, too")
    for address, host in addresses:
        if not (tls or insecure or is_loopback(host)):
            raise ConfigError(
                f"plaintext to {address} would show everyone's usage to the network: give"
                " --tls-ca, or --insecure if the network is trusted"
            )


def _check_sources(sources: Sequence[str], sockets: Iterable[str]) -> None:
    for name in sources:
        if name not in ORDER:
            raise ConfigError(f"source {name!r}: take some of {', '.join(ORDER)}")
        if sources.count(name) > 1:
            raise ConfigError(f"source {name!r} is named twice")
    for name in sockets:
        if name not in SOCKETS:
            raise ConfigError(f"socket {name!r}: only {', '.join(SOCKETS)} have one")


def _check_label(name: str, value: str) -> None:
    try:
        if clean(value) != value:
            raise ConfigError(f"{name} {value!r}: leave out the surrounding space")
    except LabelError as error:
        raise ConfigError(f"{name} {value!r} {error}") from error


def host_port(address: str) -> tuple[str, int]:
    """HOST:PORT or [IPV6]:PORT in its parts. Raises ConfigError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"{address!r} is no address: write HOST:PORT")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether what is sent to this host, a name or an IP address, stays on this one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
