"""Books on this machine: embedded ClickHouse and a collector, for `demo` and `up`."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click

from gpuledger_agent.signals import ending
from gpuledger_collector.serve import CollectorSettings, CollectorThread
from gpuledger_collector.store.client import StoreConfig, StoreError, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.keeper import Keeper
from gpuledger_collector.store.migrate import migrate

_REVIEW = "SELECT id, requested_gpus, used_gpus_p95, verdict FROM request_review"
_WASTE = (
    "SELECT team, round(sum(waste_gpu_hours)) AS waste FROM waste_by_team"
    " GROUP BY team ORDER BY waste DESC FORMAT PrettyCompact"
)


@dataclass(frozen=True, slots=True)
class LocalBooks:
    """Where the books are, as their owner and as files, and where agents report to."""

    store: StoreConfig
    directory: Path
    collector: str


@contextmanager
def local_books(
    directory: Path, port: int, settings: CollectorSettings, *, any_port: bool
) -> Iterator[LocalBooks]:
    """Run ClickHouse on a directory and a collector in front of it.

    If the port is taken, `any_port` takes another. Raises StoreError or ServeError.
    """
    server = _started(directory, port, any_port=any_port)
    try:
        store = server.store
        with connect(store, create_database=True) as client:
            migrate(client)
        bound = replace(settings, store=store)
        with Keeper(server) as keeper, CollectorThread(bound, [keeper.thread]) as collector:
            yield LocalBooks(store, directory, collector.address)
    finally:
        server.stop()


def _started(directory: Path, port: int, *, any_port: bool) -> EmbeddedServer:
    server = EmbeddedServer(directory, port)
    try:
        server.start()
    except StoreError:
        if not any_port or not port:
            raise
        server = EmbeddedServer(directory)
        server.start()
    return server


def say_where(books: LocalBooks, lead: str) -> None:
    """Print how to ask these books in SQL, and how to change what is declared in them."""
    flag = "" if books.store.url.endswith(":8123") else f" --clickhouse-url {books.store.url}"
    address = f"{books.store.url}/?database={books.store.database}"
    click.echo(f"{lead} Ask it from another terminal or from Grafana; it ends with Ctrl-C:")
    click.echo(f'  {_program()} query{flag} "{_REVIEW}"')
    click.echo(f"  curl '{address}' -d \"{_WASTE}\"")
    click.echo("Everybody on this host can read it. Who runs it can declare things, with --data:")
    directory = shlex.quote(str(books.directory.absolute()))
    click.echo(f"  {_program()} requests apply requests.yaml --data {directory}")


def _program() -> str:
    """How to call us: by name where that finds us, else by the path that we were called by."""
    called, found = Path(sys.argv[0]), shutil.which("gpuledger")
    if found and called.exists() and called.samefile(found):
        return "gpuledger"
    return shlex.quote(str(called))


@contextmanager
def until_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and SIGHUP set; a second Ctrl-C interrupts."""
    stop = threading.Event()

    def end(number: int, _: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, end) for number in ending()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
