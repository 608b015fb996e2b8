"""`gpuledger serve`."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click

from gpuledger_agent import log
from gpuledger_agent.config import ConfigError, host_port
from gpuledger_agent.file_limit import raise_file_limit
from gpuledger_agent.service_manager import ServiceManager
from gpuledger_agent.settings_file import Refused
from gpuledger_agent.signals import ending
from gpuledger_agent.vital_thread import VitalThread
from gpuledger_collector.admission import PENDING_MIB
from gpuledger_collector.commands.declare import loading
from gpuledger_collector.config import notify_option, store_options
from gpuledger_collector.ledger.findings import EVERY_S
from gpuledger_collector.ledger.notify import config as notify_config
from gpuledger_collector.ledger.rules import load
from gpuledger_collector.listening import ServeError, Tls
from gpuledger_collector.serve import STREAM_S, Collector, CollectorSettings
from gpuledger_collector.store.client import StoreConfig, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.keeper import Keeper
from gpuledger_collector.store.migrate import migrate

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@store_options
@click.option(
    "--listen",
    default="127.0.0.1:7670",
    show_default=True,
    metavar="HOST:PORT",
    help="Where agents connect.",
)
@click.option(
    "--metrics",
    default="127.0.0.1:7671",
    show_default=True,
    metavar="HOST:PORT",
    help='Where Prometheus asks; "" for nowhere.',
)
@click.option(
    "--embedded",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Run an embedded ClickHouse on this directory instead of --clickhouse-url.",
)
@click.option(
    "--embedded-port",
    type=click.IntRange(0, 65535),
    default=8123,
    show_default=True,
    help="Its HTTP port.",
)
@click.option("--tls-cert", type=_FILE, help="Our certificate (PEM).")
@click.option("--tls-key", type=_FILE, help="Its key (PEM).")
@click.option("--tls-client-ca", type=_FILE, help="Agents must show a certificate of this CA.")
@click.option(
    "--tls-any-host", is_flag=True, help="It need not name the agent's host: it is shared."
)
@click.option("--token-file", type=_FILE, help="Agents must show a token of this file.")
@click.option("--insecure", is_flag=True, help="Allow plaintext beyond this host.")
@click.option(
    "--rules-config",
    type=_FILE,
    metavar="FILE",
    help="Thresholds of the rules (TOML, docs/findings.md); the same for all collectors.",
)
@click.option(
    "--findings-every",
    default=EVERY_S,
    show_default=True,
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How often rules are evaluated; 0 for never.",
)
@notify_option
@click.option(
    "--pending-mib",
    type=click.IntRange(1),
    default=PENDING_MIB,
    show_default=True,
    metavar="MIB",
    help="Memory for what is not yet committed; beyond it agents wait.",
)
@click.option(
    "--stream-age",
    type=click.FloatRange(10, 86_400),
    default=STREAM_S,
    show_default=True,
    metavar="SECONDS",
    help="After so long agents connect anew, and show who they are.",
)
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    type=click.Choice(["debug", "info", "warning", "error"]),
)
def serve(
    store: StoreConfig,
    listen: str,
    metrics: str,
    embedded: Path | None,
    embedded_port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    tls_any_host: bool,
    token_file: Path | None,
    insecure: bool,
    rules_config: Path | None,
    findings_every: float,
    notify: Path | None,
    pending_mib: int,
    stream_age: float,
    log_level: str,
) -> None:
    """Receive what agents send, keep it in ClickHouse, keep the books; until SIGTERM.

    Example: gpuledger serve --clickhouse-url http://clickhouse:8123 --password-file /run/pw
    """  # fmt: skip
    if (tls_cert is None) != (tls_key is None) or (tls_client_ca and not tls_cert):
        raise Refused("TLS needs both --tls-cert and --tls-key")
    if tls_any_host and not tls_client_ca:
        raise Refused("--tls-any-host is about certificates of agents: give --tls-client-ca, too")
    tls = Tls(tls_cert, tls_key, tls_client_ca, tls_any_host) if tls_cert and tls_key else None
    for address in (listen, metrics) if metrics else (listen,):
        try:
            host_port(address)
        except ConfigError as error:
            raise Refused(str(error)) from error
    with loading():
        rules = load(rules_config)
        told = notify_config.load(notify)
    log.configure(log_level)
    raise_file_limit()
    beside: list[VitalThread] = []
    with ExitStack() as stack:
        if embedded is not None:
            server = stack.enter_context(EmbeddedServer(embedded, embedded_port))
            store = replace(server.store, database=store.database)
            with connect(store, create_database=True) as client:
                migrate(client)
            beside.append(stack.enter_context(Keeper(server)).thread)
        settings = CollectorSettings(
            listen,
            metrics,
            store,
            tls,
            token_file,
            insecure,
            pending_mib=pending_mib,
            stream_s=stream_age,
            rules=rules,
            findings_every_s=findings_every,
            notify=told,
        )
        try:
            asyncio.run(_serve(settings, beside))
        except ServeError as error:
            raise Refused(str(error)) from error


async def _serve(settings: CollectorSettings, beside: list[VitalThread]) -> None:
    collector = Collector(settings, beside)
    loop = asyncio.get_running_loop()
    for number in ending():
        loop.add_signal_handler(number, collector.stop)
    await collector.run(manager=ServiceManager())
