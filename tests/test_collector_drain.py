"""The end of a collector under load: nothing acked is lost, and the next one gets the rest."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client.parser import text_string_to_metric_families

from gpuledger_agent.spool import Spool
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.store.client import StoreConfig
from tests.collector_fixture import WireAgent, batch, metric, present_window, settings_for
from tests.faults.proxy import proxied
from tests.uplink_fixture import free_port, uplink_to, waiting
from tests.waiting import wait_until

SYSTEMD_S = 90
"""systemd kills what has not ended so long after SIGTERM (DefaultTimeoutStopSec)."""

WINDOWS = 160
ROWS = 4

START = present_window() // 86_400 * 86_400 - 86_400
LAST = START + 10 * WINDOWS


class Served:
    """`gpuledger serve` in a process of its own."""

    def __init__(self, store: StoreConfig, log: Path) -> None:
        command = [sys.executable, "-c", "from gpuledger_collector.cli import main; main()"]
        command += ["serve", "--clickhouse-url", store.url, "--database", store.database]
        self._metrics = free_port()
        command += ["--listen", "127.0.0.1:0", "--metrics", self._metrics]
        self._log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(command, stderr=errors)
        wait_until(lambda: "event=serving" in self.said or self.process.poll() is not None)
        port = re.search(r"event=serving port=(\d+)", self.said)
        assert port, self.said
        self.address = f"127.0.0.1:{port[1]}"

    @property
    def said(self) -> str:
        """Its log so far."""
        return self._log.read_text()

    @property
    def pending_bytes(self) -> float:
        """What it has received and not answered."""
        with urlopen(f"http://{self._metrics}/metrics", timeout=10) as page:
            families = text_string_to_metric_families(page.read().decode())
        return sum(f.samples[0].value for f in families if f.name.endswith("_pending_bytes"))

    def end(self) -> None:
        """As systemd ends it; it must end by itself, and well."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(SYSTEMD_S) == 0, self.said


@contextmanager
def served(store: StoreConfig, log: Path) -> Iterator[Served]:
    running = Served(store, log)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


@pytest.fixture
def backlog(tmp_path: Path) -> Iterator[Spool]:
    """An agent's spool with windows of yesterday."""
    spool = Spool(tmp_path / "spool.sqlite")
    spool.append([batch(rows=ROWS, start=START + 10 * n) for n in range(WINDOWS)], START)
    yield spool
    spool.close()


def booked(client: Client) -> tuple[int, ...]:
    """Windows, and rows: as many as are in the public view."""
    query = "SELECT uniqExact(ts), count() FROM process_usage"
    return tuple(client.query(query).result_rows[0])


def test_collectors_when_one_ends_under_load_then_the_other_gets_what_it_did_not_ack(
    database: StoreConfig, client: Client, backlog: Spool, tmp_path: Path
) -> None:
    with (
        served(database, tmp_path / "first.log") as first,
        served(database, tmp_path / "second.log") as second,
        uplink_to(backlog, first.address, second.address),
    ):
        wait_until(lambda: len(waiting(backlog)) < WINDOWS)
        first.end()
        acked = WINDOWS - len(waiting(backlog))
        windows, _ = booked(client)
        assert windows >= acked > 0
        wait_until(lambda: not waiting(backlog), 60)
        second.end()
    assert booked(client) == (WINDOWS, WINDOWS * ROWS)
    assert "drain_incomplete" not in first.said
    assert "Traceback" not in first.said + second.said


def test_collectors_when_one_is_killed_then_the_other_gets_what_it_did_not_ack(
    database: StoreConfig, client: Client, backlog: Spool, tmp_path: Path
) -> None:
    with (
        served(database, tmp_path / "first.log") as first,
        served(database, tmp_path / "second.log") as second,
        uplink_to(backlog, first.address, second.address),
    ):
        wait_until(lambda: len(waiting(backlog)) < WINDOWS)
        first.process.kill()
        wait_until(lambda: not waiting(backlog), 60)
        second.end()
    assert booked(client) == (WINDOWS, WINDOWS * ROWS)


def test_collector_when_its_store_hangs_then_it_ends_all_the_same(
    database: StoreConfig, client: Client, backlog: Spool, tmp_path: Path
) -> None:
    with proxied(database.url) as proxy:
        hung = replace(database, url=proxy.url)
        with served(hung, tmp_path / "hung.log") as first, uplink_to(backlog, first.address):
            wait_until(lambda: len(waiting(backlog)) < WINDOWS)
            proxy.weather.hole = True
            # Should all have been answered by now, this one is not.
            backlog.append([batch(rows=ROWS, start=LAST)], LAST)
            wait_until(lambda: first.pending_bytes > 0)
            first.end()
            assert first.said.count("event=drain_incomplete") == 1
        left = waiting(backlog)
        assert left, "the drain was not put to the test"
        proxy.weather.hole = False
    with (
        served(database, tmp_path / "next.log") as following,
        uplink_to(backlog, following.address),
    ):
        wait_until(lambda: not waiting(backlog), 60)
    assert booked(client) == (WINDOWS + 1, (WINDOWS + 1) * ROWS)


def test_collector_when_it_ends_then_it_still_answers_what_it_has_read(
    database: StoreConfig, client: Client
) -> None:
    with proxied(database.url) as proxy:
        collector = CollectorThread(settings_for(replace(database, url=proxy.url)))
        collector.start()
        with WireAgent(collector.address) as agent:
            agent.hear()
            proxy.weather.hole = True
            before = metric(collector, "pending_bytes")
            agent.send(batch(1, rows=ROWS))
            wait_until(lambda: metric(collector, "pending_bytes") > before + 512)
            collector._loop.call_soon_threadsafe(collector._collector.stop)
            proxy.weather.hole = False
            assert agent.acks(1) == [1]
            with pytest.raises(grpc.RpcError) as ended:
                agent.hear()
            collector.stop()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "stopping" in ended.value.details()
    assert booked(client) == (1, ROWS)
