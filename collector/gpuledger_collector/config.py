"""Options that commands share: flags, then environment (GPULEDGER_…), then a TOML file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from gpuledger_agent.settings_file import Refused, read_toml
from gpuledger_collector.store import owner
from gpuledger_collector.store.client import StoreConfig

DEFAULT_FILE = Path("/etc/gpuledger/collector.toml")


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say where ClickHouse is; it is called with `store`."""

    @click.option(
        "--clickhouse-url",
        envvar="GPULEDGER_CLICKHOUSE_URL",
        default="http://127.0.0.1:8123",
        show_default=True,
        metavar="URL",
        help="HTTP interface of ClickHouse.",
    )
    @click.option(
        "--database",
        envvar="GPULEDGER_DATABASE",
        default="gpuledger",
        show_default=True,
        help="Database of the books.",
    )
    @click.option(
        "--username",
        envvar="GPULEDGER_USERNAME",
        default="default",
        show_default=True,
        help="ClickHouse user.",
    )
    @click.option(
        "--password-file",
        envvar="GPULEDGER_PASSWORD_FILE",
        type=click.Path(path_type=Path),
        help="File that holds its password.",
    )
    @click.option(
        "--data",
        envvar="GPULEDGER_DATA",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Instead of these three: where an embedded ClickHouse runs (--data of up), as owner.",
    )
    @wraps(command)
    def with_store(**values: Any) -> Any:
        given = StoreConfig(
            url=values.pop("clickhouse_url"),
            database=values.pop("database"),
            username=values.pop("username"),
            password=_password(values.pop("password_file")),
        )
        data = values.pop("data")
        store = replace(owner.store(data), database=given.database) if data else given
        return command(store=store, **values)  # fmt: skip

    return with_store


rules_option = click.option(
    "--rules-config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Thresholds of the rules (TOML, docs/findings.md).",
)

notify_option = click.option(
    "--notify",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Who is told of findings (TOML, docs/notifications.md); the same for all collectors.",
)


def _password(path: Path | None) -> str:
    """The first line of the file. A flag would show the password to every user of the host."""
    if path is None:
        return ""
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline(4096).rstrip("\n")
    except OSError as error:
        raise Refused(f"--password-file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"--password-file {path}: not UTF-8 text") from error


def load_file(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Make the settings in a TOML file the defaults of every command. Raises Refused.

    The file has a table per command ([serve], [requests] …), which counts for its subcommands; what
    stands before the first table counts for every command that knows it.
    """
    if path is None and not DEFAULT_FILE.exists():
        return None
    path = path or DEFAULT_FILE
    values = read_toml(path)
    group = context.command
    if not isinstance(group, click.Group):
        raise TypeError(f"{group} has no commands to give settings to")
    names = group.list_commands(context)
    commands = {name: _installed(group, context, name) for name in names}
    common = {k: v for k, v in values.items() if not isinstance(v, dict)}
    tables = {k: v for k, v in values.items() if isinstance(v, dict)}
    context.default_map = {
        name: _placed(command, {**common, **tables.get(name, {})})
        for name, command in commands.items()
    }
    known = {name: _parameters(command) for name, command in commands.items() if command}
    for name in common:
        if not any(name in parameters for parameters in known.values()):
            raise Refused(f"{path}: {name}: no command has such a setting{_spelling(name)}")
    for name, table in tables.items():
        if name not in names:
            raise Refused(f"{path}: [{name}]: no such command; take one of {', '.join(names)}")
        for key in table.keys() - known.get(name, table.keys()):
            raise Refused(
                f"{path}: [{name}] {key}: gpuledger {name} has no such setting{_spelling(key)}"
            )
    return path


def _installed(group: click.Group, context: click.Context, name: str) -> click.Command | None:
    """The command, None if it lacks a package here: then nobody runs it, whatever its settings."""
    try:
        return group.get_command(context, name)
    except click.ClickException:
        return None


def _spelling(name: str) -> str:
    return "; write it with _ for -" if "-" in name else ""


def _placed(command: click.Command | None, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings where click looks for the defaults of a command and of those below it."""
    if isinstance(command, click.Group):
        return {**settings, **dict.fromkeys(command.commands, settings)}
    return settings


def _parameters(command: click.Command) -> set[str]:
    """Names of what a command, or one below it, can be told."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    own = {p.name for p in command.params if p.name}
    return own.union(*map(_parameters, below))
