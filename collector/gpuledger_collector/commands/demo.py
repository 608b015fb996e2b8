"""`gpuledger demo`."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from clickhouse_connect.driver.client import Client

from gpuledger_agent import log
from gpuledger_collector import output
from gpuledger_collector.demo.fleet import fleet, prices_yaml, requests_yaml
from gpuledger_collector.demo.hosts import Fleet
from gpuledger_collector.demo.local import LocalBooks, local_books, say_where, until_signal
from gpuledger_collector.demo.stories import tell
from gpuledger_collector.ledger import prices, requests
from gpuledger_collector.ledger.rules import built_in
from gpuledger_collector.rollup import Rollup
from gpuledger_collector.serve import CollectorSettings
from gpuledger_collector.store.client import connect

HISTORY_WINDOW_S = 60
HISTORY_TICK_S = 15.0

FINDINGS_EVERY_S = 30.0
"""Whoever tries something wants to see it found."""


@click.command()
@click.option("--exit", "leave", is_flag=True, help="End once the ledger is printed.")
@click.option(
    "--hours",
    type=click.IntRange(1, 48),
    default=6,
    show_default=True,
    help="How much history to simulate.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the books here instead of in a directory that is removed.",
)
@click.option("--seed", type=int, default=7, show_default=True, help="Another fleet.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8123,
    show_default=True,
    help="Port for SQL; another one if it is taken.",
)
def demo(leave: bool, hours: int, data: Path | None, seed: int, port: int) -> None:
    """A simulated fleet, and its ledger within a minute. No GPU needed.

    Only devices and processes are made up: agent, wire, collector, ClickHouse and views are the
    real ones. Ends with Ctrl-C.
    """  # fmt: skip
    log.configure("warning")
    settings = CollectorSettings(
        "127.0.0.1:0", "", max_wait_s=0.1, rules=built_in(), findings_every_s=FINDINGS_EVERY_S
    )
    with until_signal() as stop, _directory(data) as directory:
        _say("starting ClickHouse and a collector ...")
        with local_books(directory, port, settings, any_port=True) as books:
            _run(books, hours, seed, stop, leave=leave)


def _run(books: LocalBooks, hours: int, seed: int, stop: threading.Event, *, leave: bool) -> None:
    now = time.time()
    begins = (now // 3600 - hours) * 3600
    hosts = fleet(begins, seed)
    running = Fleet(hosts, begins, books.collector)
    try:
        with connect(books.store) as client:
            _declare(client, begins)
            _say(f"{len(hosts)} hosts live through {hours} h:", end="")
            past = (now // 60 * 60, HISTORY_WINDOW_S, HISTORY_TICK_S)
            running.past(*past, lambda p: _say(f" {p}%", end=""), stop)
            while not (running.sent() or stop.wait(0.05)):
                pass
            _unless(stop)
            _say("; adding up ...")
            rollup = Rollup(client, settle_s=0)
            while rollup.run_once():
                _unless(stop)
            tell(client, output.console(100))
        click.echo(f"\nbooks of {len(hosts)} hosts, ready after {time.time() - now:.0f} s")
        if not leave:
            say_where(books, "The fleet goes on living.")
            running.live(stop)
    finally:
        running.stop()


def _unless(stop: threading.Event) -> None:
    if stop.is_set():
        _say("")
        raise click.Abort


def _declare(client: Client, begins: float) -> None:
    """Apply the requests and prices of the demo as an operator would: from files."""
    with tempfile.TemporaryDirectory() as name:
        asked, priced = Path(name, "requests.yaml"), Path(name, "prices.yaml")
        asked.write_text(requests_yaml(begins))
        priced.write_text(prices_yaml(begins))
        requests.BOOK.apply(client, requests.BOOK.load(asked))
        prices.BOOK.apply(client, prices.BOOK.load(priced))


def _say(text: str, *, end: str = "\n") -> None:
    click.echo(text, err=True, nl=end == "\n")


@contextmanager
def _directory(data: Path | None) -> Iterator[Path]:
    if data is not None:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="gpuledger-demo-", ignore_cleanup_errors=True) as name:
        yield Path(name)
