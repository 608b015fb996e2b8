"""Settings of the agent: flags, then environment (GPULEDGER_AGENT_…), then a TOML file."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import click

from gpuledger_agent.attribution import rules_file
from gpuledger_agent.attribution.attributor import ORDER
from gpuledger_agent.attribution.rules_file import RulesError
from gpuledger_agent.attribution.sources import SOCKETS
from gpuledger_agent.config import DEFAULT_COLLECTOR, DEFAULT_SPOOL, AgentConfig, ConfigError
from gpuledger_agent.dial import Trust
from gpuledger_agent.pem import PemFiles
from gpuledger_agent.records import Owner
from gpuledger_agent.serving import families
from gpuledger_agent.serving.families import FamiliesError
from gpuledger_agent.settings_file import Refused, read_toml

DEFAULT_FILE = Path("/etc/gpuledger/agent.toml")

COLLECTORS = (
    *("collector", "tls-ca", "tls-cert", "tls-key", "tls-server-name"),
    *("token-file", "insecure"),
)
"""Flags about collectors, which a command that brings its own has no use for."""

COMMANDS = ("run", "check", "sample")

_FILE = click.Path(dir_okay=False, path_type=Path)

_SETTINGS: dict[str, dict[str, Any]] = {
    "collector": {
        "default": (DEFAULT_COLLECTOR,),
        "multiple": True,
        "metavar": "HOST:PORT",
        "help": "Where windows go; repeat for others to fall back on.",
    },
    "tls-ca": {
        "type": _FILE,
        "default": None,
        "metavar": "FILE",
        "help": "Speak TLS, with collectors whose certificate is of this CA (PEM).",
    },
    "tls-cert": {
        "type": _FILE,
        "default": None,
        "metavar": "FILE",
        "help": "Our certificate (PEM), for collectors that want one.",
    },
    "tls-key": {"type": _FILE, "default": None, "metavar": "FILE", "help": "Its key (PEM)."},
    "tls-server-name": {
        "default": "",
        "metavar": "NAME",
        "help": "Name in collectors' certificates, if it is not that in --collector.",
    },
    "token-file": {
        "type": _FILE,
        "default": None,
        "metavar": "FILE",
        "help": "Token for collectors that want one.",
    },
    "insecure": {
        "is_flag": True,
        "default": False,
        "help": "Allow plaintext to collectors beyond this host.",
    },
    "host": {
        "default": socket.gethostname,
        "show_default": "host name",
        "help": "Name of this host in the books.",
    },
    "cluster": {"default": "", "help": "Cluster of this host."},
    "pool": {"default": "", "help": "Pool that the GPUs of this host belong to."},
    "team": {"default": "", "help": "Owner of processes that name none themselves."},
    "model": {"default": "", "help": "Likewise their model."},
    "endpoint": {"default": "", "help": "Likewise their endpoint."},
    "use-case": {"default": "", "help": "Likewise their use case."},
    "label": {"multiple": True, "metavar": "NAME=VALUE", "help": "Further label of this host."},
    "source": {
        "default": ORDER,
        "multiple": True,
        "metavar": "NAME",
        "show_default": " ".join(ORDER),
        "help": "Who may name owners; repeat, the first to name one decides.",
    },
    "socket": {
        "multiple": True,
        "metavar": "SOURCE=PATH",
        "help": f"Socket of {', '.join(SOCKETS)}, where it is not in its usual place.",
    },
    "rules": {
        "type": _FILE,
        "metavar": "FILE",
        "help": "Rules that come before the built-in ones (docs/attribution.md).",
    },
    "scrape": {
        "is_flag": True,
        "default": True,
        "help": "Read the metrics of inference servers (docs/traffic-scraping.md).",
    },
    "families": {
        "type": _FILE,
        "metavar": "FILE",
        "help": "Kinds of inference server that come before the built-in ones.",
    },
    "window": {"default": 10, "metavar": "SECONDS", "help": "Length of a window."},
    "tick": {"default": 1.0, "metavar": "SECONDS", "help": "How often GPUs are read."},
    "spool": {
        "type": _FILE,
        "default": DEFAULT_SPOOL,
        "help": "File that keeps windows until they are acknowledged.",
    },
    "spool-max-mib": {
        "default": 1024,
        "metavar": "MIB",
        "help": "Size of the spool beyond which the oldest windows go.",
    },
    "metrics": {
        "default": "127.0.0.1:7672",
        "metavar": "HOST:PORT",
        "help": 'Where Prometheus asks; "" for nowhere.',
    },
    "health": {
        "default": "127.0.0.1:7673",
        "metavar": "HOST:PORT",
        "help": 'Where grpc.health.v1 answers; "" for nowhere.',
    },
    "log-level": {
        "default": "info",
        "type": click.Choice(["debug", "info", "warning", "error"]),
        "help": "How much goes to stderr.",
    },
}
"""Name of each flag; in a file and in the environment the same with underscores."""

_TABLES = {"labels": "label", "sockets": "socket"}
"""Table of a file -> the flag that gives one of its entries as NAME=VALUE."""

Command = Callable[..., Any]


def settings(command: Command) -> Command:
    """Give a command all settings: it is called with `config`, `log_level` and its own."""
    return settings_but()(command)


def settings_but(*decided: str) -> Callable[[Command], Command]:
    """Likewise without these flags, for a command that puts them into `config` itself."""
    offered = {name: how for name, how in _SETTINGS.items() if name not in decided}

    def give(command: Command) -> Command:
        @wraps(command)
        def with_config(**values: Any) -> Any:
            taken = {key(name): _SETTINGS[name]["default"] for name in decided}
            taken |= {name: values.pop(name) for name in map(key, offered)}
            return command(config=_config(taken), log_level=taken["log_level"], **values)

        given: Command = with_config
        for name in reversed(offered):
            given = option(name, envvar=f"GPULEDGER_AGENT_{key(name).upper()}")(given)
        return given

    return give


def option(name: str, **other: Any) -> Callable[[Command], Command]:
    """The flag of one setting, where something about it may be other than the agent's."""
    how = _SETTINGS[name] | other
    shown = {"show_default": how.get("default") not in {"", None, ()}} | how
    flag = f"--{name}/--no-{name}" if how.get("is_flag") else f"--{name}"
    return click.option(flag, cls=_Option, **shown)


class _Option(click.Option):
    """A flag of which a file may hold one value where there can be several."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        several = self.multiple and isinstance(value, str)
        return super().type_cast_value(ctx, [value] if several else value)


def load_file(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Make the settings in a TOML file the defaults of every command. Raises Refused."""
    context.default_map = dict.fromkeys(COMMANDS, file_settings(path))
    return path


def file_settings(path: Path | None) -> dict[str, Any]:
    """What the file says, or without a path the usual one if it exists, by the keys of flags.

    Raises Refused.
    """
    if path is None and not DEFAULT_FILE.exists():
        return {}
    path = path or DEFAULT_FILE
    values = read_toml(path)
    known = {*map(key, _SETTINGS), *_TABLES} - set(_TABLES.values())
    for name, value in values.items():
        if name not in known:
            raise Refused(
                f"{path}: {name}: no such setting; take one of {', '.join(sorted(known))}"
            )
        if not _plain(name, value):
            raise Refused(f"{path}: {name}: {value!r} is not the kind of value that belongs here")
    for table, flag in _TABLES.items():
        values[flag] = [f"{name}={value}" for name, value in values.pop(table, {}).items()]
    return values


def _plain(name: str, value: Any) -> bool:
    """Whether the value is one that the setting's flag could be given."""
    match name:
        case "labels" | "sockets":
            return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
        case "collector" | "source":
            values = value if isinstance(value, list) else [value]
            return all(isinstance(v, str) for v in values)
        case "window" | "tick" | "spool_max_mib":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "scrape" | "insecure":
            return isinstance(value, bool)
        case _:
            return isinstance(value, str)


def _config(values: dict[str, Any]) -> AgentConfig:
    try:
        return AgentConfig(
            collectors=tuple(values["collector"]),
            trust=trust_of(values),
            insecure=values["insecure"],
            host=values["host"],
            cluster=values["cluster"],
            pool=values["pool"],
            owner=Owner(values["team"], values["model"], values["endpoint"], values["use_case"]),
            labels=_pairs("label", values["label"]),
            sources=tuple(values["source"]),
            sockets={k: Path(v) for k, v in _pairs("socket", values["socket"]).items()},
            rules=rules_file.load(values["rules"]),
            scrape=values["scrape"],
            families=families.load(values["families"]),
            window_s=values["window"],
            tick_s=values["tick"],
            spool=values["spool"],
            spool_max_mib=values["spool_max_mib"],
            metrics_listen=values["metrics"],
            health_listen=values["health"],
        )
    except (ConfigError, FamiliesError, RulesError) as error:
        raise Refused(str(error)) from error


def trust_of(values: Mapping[str, Any]) -> Trust:
    """What the flags about collectors say, by their keys."""
    files = PemFiles(values["tls_cert"], values["tls_key"], values["tls_ca"])
    tls = files if files != PemFiles() else None
    return Trust(tls, values["tls_server_name"], values["token_file"])


def _pairs(flag: str, pairs: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise Refused(f"{flag} {pair!r}: write NAME=VALUE")
        found[name] = value
    return found


def key(flag: str) -> str:
    """Under which a command is given the value of a flag."""
    return flag.replace("-", "_")
