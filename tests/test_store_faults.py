"""ClickHouse in every kind of trouble: what agents sent is kept, tried again, and booked once."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector import writer
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.store.client import StoreConfig, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate
from tests.collector_fixture import WireAgent, batch, metric, present_window, settings_for
from tests.faults.proxy import proxied
from tests.small_disk import small_disk
from tests.waiting import wait_until

WINDOWS = 6
ROWS = 4


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collectors that do not pause for long before they try again."""
    monkeypatch.setattr(writer, "RETRY_MAX_S", 0.2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A ClickHouse that may be ill-treated."""
    with EmbeddedServer(tmp_path / "store") as running:
        yield running


def migrated(store: StoreConfig) -> StoreConfig:
    with connect(store, create_database=True) as client:
        migrate(client)
    return store


class Outage:
    """A collector whose store fails in the middle of what one agent sends."""

    def __init__(self, collector: CollectorThread, agent: WireAgent) -> None:
        self._collector = collector
        self._agent = agent
        self._start = present_window() - 10 * WINDOWS

    def send(self, *windows: int) -> None:
        for window in windows:
            self._agent.send(batch(window, rows=ROWS, start=self._start + 10 * window))

    def acks(self, *windows: int) -> None:
        assert self._agent.acks(len(windows)) == list(windows)

    def felt(self, times: int = 1) -> None:
        """Wait until inserts have failed; nothing may have been acked since the first window."""
        wait_until(lambda: metric(self._collector, "insert_failures_total") >= times)
        assert metric(self._collector, "store_up") == 0
        assert metric(self._collector, "batches_acked_total") == 1


@contextmanager
def outage(store: StoreConfig) -> Iterator[Outage]:
    """One window is acked; then it is for the test to break the store and to mend it."""
    with CollectorThread(settings_for(store)) as collector, WireAgent(collector.address) as agent:
        running = Outage(collector, agent)
        running.send(1)
        running.acks(1)
        yield running


def assert_booked_once(client: Client, windows: int = WINDOWS) -> None:
    """Every window, with all its rows, and nothing besides."""
    rows = client.query("SELECT count() FROM process_usage GROUP BY ts ORDER BY ts").result_rows
    assert rows == [(ROWS,)] * windows
    assert client.query("SELECT count() FROM gpu_usage").result_rows == [(windows,)]


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    return [message for message in caplog.messages if f"event={event} " in f"{message} "]


REFUSALS = {
    "too many parts": (
        "ALTER TABLE process_usage_raw MODIFY SETTING parts_to_throw_insert = 1",
        "ALTER TABLE process_usage_raw RESET SETTING parts_to_throw_insert",
        "Too many parts",
    ),
    "the last of two tables away": (
        "RENAME TABLE gpu_usage_raw TO elsewhere",
        "RENAME TABLE elsewhere TO gpu_usage_raw",
        "gpu_usage_raw does not exist",
    ),
    "a view that breaks inserts": (
        "RENAME TABLE touched_hours TO elsewhere",
        "RENAME TABLE elsewhere TO touched_hours",
        "touched_hours",
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_store_when_it_refuses_inserts_then_they_are_kept_until_it_takes_them(
    database: StoreConfig, client: Client, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level(logging.INFO)
    inflict, mend, said = REFUSALS[kind]
    with outage(database) as running:
        client.command(inflict)
        running.send(*range(2, WINDOWS + 1))
        running.felt()
        client.command(mend)
        running.acks(*range(2, WINDOWS + 1))
        assert_booked_once(client)
    [fails] = lines(caplog, "store_fails")
    assert said in fails
    assert "(ClickHouse error " in fails
    assert len(lines(caplog, "store_works_again")) == 1


def test_write_when_one_of_its_inserts_fails_then_the_others_are_not_made_again(
    database: StoreConfig, client: Client
) -> None:
    client.command("SYSTEM STOP MERGES process_usage_raw")
    with outage(database) as running:
        client.command("RENAME TABLE gpu_usage_raw TO elsewhere")
        running.send(2)
        running.felt(times=3)
        client.command("RENAME TABLE elsewhere TO gpu_usage_raw")
        running.acks(2)
    assert client.query("SELECT count() FROM process_usage_raw").result_rows == [(2 * ROWS,)]


USERS = """<clickhouse>
  <profiles><default/><books>{settings}</books></profiles>
  <quotas><default/></quotas>
  <users>
    <default><password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile></default>
    <books><password/><networks><ip>127.0.0.1</ip></networks><profile>books</profile></books>
  </users>
</clickhouse>"""


class ProfiledServer(EmbeddedServer):
    """Its user `books` has these settings from the next start on."""

    settings = ""

    def _configure(self) -> None:
        super()._configure()
        users = self._home / ".clickhouse-local" / "users.xml"
        users.write_text(USERS.format(settings=self.settings))

    def restart_with(self, settings: str) -> None:
        self.stop()
        self.settings = settings
        self.start()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("<readonly>1</readonly>", "readonly mode"),
        ("<max_memory_usage>4096</max_memory_usage>", "memory"),
    ],
)
def test_store_when_restarted_without_room_or_rights_then_it_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: str, said: str
) -> None:
    with ProfiledServer(tmp_path / "store") as server:
        store = replace(migrated(StoreConfig(server.url)), username="books")
        with outage(store) as running:
            server.restart_with(settings)
            running.send(*range(2, WINDOWS + 1))
            running.felt()
            server.restart_with("")
            running.acks(*range(2, WINDOWS + 1))
            with connect(store) as client:
                assert_booked_once(client)
    assert any(said in line for line in lines(caplog, "store_fails"))
    # Between two servers there was none, which is a fault of another kind.
    assert len(lines(caplog, "store_fails")) <= 2


def test_store_when_its_disk_is_full_then_it_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path / "disk", 96))
        server = stack.enter_context(EmbeddedServer(disk.path / "store"))
        store = migrated(server.store)
        with outage(store) as running:
            disk.fill()
            running.send(*range(2, WINDOWS + 1))
            running.felt()
            disk.free()
            running.acks(*range(2, WINDOWS + 1))
            with connect(store) as client:
                assert_booked_once(client)
    assert len(lines(caplog, "store_fails")) == 1


def test_store_when_killed_in_mid_insert_then_the_insert_is_made_again(
    server: EmbeddedServer,
) -> None:
    store = migrated(server.store)
    victim = server.pid

    def kill() -> None:
        os.kill(victim, signal.SIGKILL)

    with proxied(server.url) as proxy, outage(replace(store, url=proxy.url)) as running:
        proxy.in_mid_insert = kill
        running.send(*range(2, WINDOWS + 1))
        running.felt()
        server.stop()
        server.start()
        running.acks(*range(2, WINDOWS + 1))
        with connect(store) as client:
            assert_booked_once(client)


def test_store_when_its_answers_are_lost_then_what_it_committed_is_booked_once(
    server: EmbeddedServer,
) -> None:
    store = migrated(server.store)
    with proxied(server.url) as proxy, outage(replace(store, url=proxy.url)) as running:
        proxy.weather.swallow = 7
        running.send(*range(2, WINDOWS + 1))
        running.acks(*range(2, WINDOWS + 1))
        assert proxy.swallowed == 7
        with connect(store) as client:
            assert_booked_once(client)
