"""`gpuledger up`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from gpuledger_agent import log
from gpuledger_agent.config import AgentConfig, ConfigError, host_port
from gpuledger_agent.daemon import Daemon
from gpuledger_agent.devices.nvml import NvmlLayer
from gpuledger_agent.options import COLLECTORS, DEFAULT_FILE, file_settings, settings_but
from gpuledger_agent.settings_file import Refused
from gpuledger_agent.spool_state import SpoolError
from gpuledger_collector.commands.declare import loading
from gpuledger_collector.config import notify_option, rules_option
from gpuledger_collector.demo.local import local_books, say_where, until_signal
from gpuledger_collector.ledger.notify import config as notify_config
from gpuledger_collector.ledger.rules import load
from gpuledger_collector.listening import ServeError
from gpuledger_collector.serve import CollectorSettings


def _agent_file(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Let the agent's file say what neither flags nor environment nor our own file say."""
    context.default_map = {**file_settings(path), **(context.default_map or {})}


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/var/lib/gpuledger"),
    show_default=True,
    metavar="DIR",
    help="Where the books and the agent's spool are kept.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8123, show_default=True, help="Port for SQL."
)
@click.option(
    "--listen",
    default="127.0.0.1:7670",
    show_default=True,
    metavar="HOST:PORT",
    help="Where the collector listens.",
)
@click.option(
    "--collector-metrics",
    default="127.0.0.1:7671",
    show_default=True,
    metavar="HOST:PORT",
    help='Where Prometheus asks the collector; "" for nowhere.',
)
@rules_option
@notify_option
@click.option(
    "--agent-config",
    type=click.Path(path_type=Path),
    envvar="GPULEDGER_AGENT_CONFIG",
    callback=_agent_file,
    is_eager=True,
    expose_value=False,
    metavar="FILE",
    show_default=f"{DEFAULT_FILE}, if it exists",
    help="The agent's settings (TOML), for what is not said elsewhere.",
)
@settings_but(*COLLECTORS, "spool")
def up(
    config: AgentConfig,
    log_level: str,
    data: Path,
    port: int,
    listen: str,
    collector_metrics: str,
    rules_config: Path | None,
    notify: Path | None,
) -> None:
    """This host, all in one: embedded ClickHouse, collector and agent, until Ctrl-C.

    Takes what gpuledger-agent takes, as flags, from the environment and from its agent.toml.

    Example: sudo gpuledger up --pool production
    """  # fmt: skip
    log.configure(log_level)
    with loading():
        rules = load(rules_config)
        told = notify_config.load(notify)
    try:
        for address in (listen, collector_metrics) if collector_metrics else (listen,):
            host_port(address)
        settings = CollectorSettings(listen, collector_metrics, rules=rules, notify=told)
        with (
            until_signal() as stop,
            local_books(data / "store", port, settings, any_port=False) as books,
        ):
            config = replace(config, collectors=(books.collector,), spool=data / "spool.sqlite")
            agent = Daemon(config, NvmlLayer())
            say_where(books, "This host keeps its books.")
            agent.run(stop)
    except (ConfigError, ServeError, SpoolError) as error:
        raise Refused(str(error)) from error
