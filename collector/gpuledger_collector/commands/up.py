"""`gpuledger up`."""

from __future__ import annotations

from pathlib import Path

import click

from gpuledger_agent import log
from gpuledger_agent.config import AgentConfig, ConfigError, host_port
from gpuledger_agent.daemon import Daemon
from gpuledger_agent.devices.nvml import NvmlLayer
from gpuledger_agent.options import Refused
from gpuledger_agent.spool import SpoolError
from gpuledger_collector.demo.local import local_books, say_where, until_signal
from gpuledger_collector.ledger.rules import built_in
from gpuledger_collector.listening import ServeError
from gpuledger_collector.serve import CollectorSettings


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
@click.option("--pool", default="", help="Pool that the GPUs of this host belong to.")
@click.option("--cluster", default="", help="Cluster of this host.")
def up(data: Path, port: int, listen: str, pool: str, cluster: str) -> None:
    """This host, all in one: embedded ClickHouse, collector and agent, until Ctrl-C.

    Example: sudo gpuledger up --pool production
    """  # fmt: skip
    log.configure("info")
    try:
        host_port(listen)
        settings = CollectorSettings(listen, rules=built_in())
        with (
            until_signal() as stop,
            local_books(data / "store", port, settings, any_port=False) as books,
        ):
            config = AgentConfig(
                collectors=(books.collector,),
                cluster=cluster,
                pool=pool,
                spool=data / "spool.sqlite",
            )
            agent = Daemon(config, NvmlLayer())
            say_where(books, "This host keeps its books.")
            agent.run(stop)
    except (ConfigError, ServeError, SpoolError) as error:
        raise Refused(str(error)) from error
