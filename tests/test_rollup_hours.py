"""Roll-ups: whole hours, recomputed when rows come, whatever happens on the way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector import rollup as rollup_module
from gpuledger_collector.rollup import DERIVED, MEASURED, TABLES, Rollup
from gpuledger_collector.rollup_days import VIEWS
from gpuledger_collector.rollup_sql import KEEP_S, LIMIT_S, SETTINGS
from gpuledger_collector.store.client import StoreConfig, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate
from tests.ledger_fleet import BASE, gpu, grant, insert, keep, process
from tests.traffic_books import served


class Killed(BaseException):
    """The end of a process, as far as a roll-up can tell."""


class KilledBefore(Rollup):
    """A roll-up that dies before one of its statements."""

    def __init__(self, client: Client, name: str) -> None:
        super().__init__(client, settle_s=0)
        self._name = name

    def _execute(self, name: str, **parameters: str) -> None:
        if name == self._name:
            raise Killed
        super()._execute(name, **parameters)


def held_by_team(client: Client) -> dict[str, int]:
    rows = client.query("SELECT team, sum(held_ms) FROM usage_hourly GROUP BY team").result_rows
    return {str(team): int(ms) for team, ms in rows}


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test's own timeout ends it."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.02)


def versions(client: Client, table: str) -> int:
    return int(client.query(f"SELECT uniqExact(computed_at) FROM {table}").result_rows[0][0])


def test_rollup_when_nothing_is_new_then_it_does_nothing(client: Client) -> None:
    rollup = Rollup(client, settle_s=0)
    assert rollup.run_once() == 0
    insert(client, "process_usage_raw", [process(BASE)])
    assert rollup.run_once() == 1
    assert rollup.run_once() == 0


def test_rollup_when_rows_may_have_lagged_behind_their_mark_then_the_hour_is_computed_once_more(
    client: Client,
) -> None:
    rollup = Rollup(client, settle_s=3600)
    insert(client, "process_usage_raw", [process(BASE)])
    assert (rollup.run_once(), rollup.run_once()) == (1, 0)
    for table in ("touched_hours", "rolled_hours"):
        client.command(f"TRUNCATE TABLE {table}")
    hour = f"toDateTime('{BASE:%Y-%m-%d %H:%M:%S}', 'UTC')"
    marked = "now64(6) - INTERVAL 2 HOUR"
    client.command(f"INSERT INTO touched_hours SELECT {hour}, {marked}")
    client.command(
        f"INSERT INTO rolled_hours SELECT {hour}, {marked}, {marked} + INTERVAL 1 SECOND"
    )
    assert (rollup.run_once(), rollup.run_once()) == (1, 0)


def test_rollup_when_an_owner_vanishes_from_an_hour_then_its_row_goes(client: Client) -> None:
    rollup = Rollup(client, settle_s=0)
    insert(client, "process_usage_raw", [process(BASE, team="search")])
    rollup.run_once()
    insert(client, "process_usage_raw", [process(BASE, team="speech")])
    rollup.run_once()
    assert held_by_team(client) == {"speech": 10_000}


def test_rollup_when_an_hour_empties_then_nothing_of_it_stays(client: Client) -> None:
    rollup = Rollup(client, settle_s=0)
    insert(client, "process_usage_raw", [process(BASE)])
    rollup.run_once()
    client.command("TRUNCATE TABLE process_usage_raw")
    insert(client, "gpu_usage_raw", [gpu(BASE)])
    rollup.run_once()
    assert held_by_team(client) == {}


@pytest.mark.parametrize("name", [*MEASURED, *DERIVED, "commit"])
def test_rollup_when_killed_before_a_statement_then_the_old_version_stands_until_the_next(
    client: Client, name: str
) -> None:
    insert(client, "process_usage_raw", [process(BASE, team="search")])
    Rollup(client, settle_s=0).run_once()
    insert(client, "process_usage_raw", [process(BASE, team="speech")])
    with pytest.raises(Killed):
        KilledBefore(client, name).run_once()
    for table in TABLES:
        client.command(f"OPTIMIZE TABLE {table} FINAL")
    assert held_by_team(client) == {"search": 10_000}
    assert Rollup(client, settle_s=0).run_once() == 1
    assert held_by_team(client) == {"speech": 10_000}


def test_rollup_when_several_run_at_once_then_the_hours_are_right(
    client: Client, database: StoreConfig
) -> None:
    hours = [BASE + timedelta(hours=hour) for hour in range(4)]
    insert(client, "process_usage_raw", [process(hour) for hour in hours])
    insert(client, "gpu_allocation_raw", [grant(hour, gpu="GPU-1") for hour in hours])

    def work() -> None:
        with connect(database) as own:
            Rollup(own, settle_s=0).run_once()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = client.query(
        "SELECT count(), sum(held_ms), sum(unheld_ms) FROM usage_hourly"
    ).result_rows
    assert rows == [(4, 40_000, 40_000)]


def test_rollup_when_the_same_version_was_inserted_twice_then_it_counts_once(
    client: Client,
) -> None:
    insert(client, "process_usage_raw", [process(BASE)])
    Rollup(client, settle_s=0).run_once()
    client.command("INSERT INTO usage_hourly_versions SELECT * FROM usage_hourly_versions")
    assert held_by_team(client) == {"search": 10_000}


def test_sweep_when_versions_are_superseded_then_only_those_go(client: Client) -> None:
    rollup = Rollup(client, settle_s=0)
    for held in (1_000, 2_000, 3_000):
        guest = process(BASE, held_ms=held, sm_busy_ms=0, pool="experiment")
        insert(client, "process_usage_raw", [guest])
        insert(client, "gpu_usage_raw", [gpu(BASE, observed_ms=held)])
        insert(client, "endpoint_traffic_raw", [served(BASE)])
        rollup.run_once()
    assert [versions(client, table) for table in TABLES] == [3] * len(TABLES)
    rollup.sweep(keep_s=3600)
    assert [versions(client, table) for table in TABLES] == [3] * len(TABLES)
    rollup.sweep(keep_s=0)
    assert [versions(client, table) for table in TABLES] == [1] * len(TABLES)
    assert held_by_team(client) == {"search": 3_000}


def test_sweep_when_a_roll_up_takes_as_long_as_it_may_then_what_it_has_written_is_left() -> None:
    statements = 1 + max(len(TABLES), len(VIEWS))
    assert SETTINGS["max_execution_time"] == LIMIT_S
    assert statements * LIMIT_S < KEEP_S


def test_sweep_when_hours_are_no_longer_kept_then_it_leaves_them_to_the_ttl(
    client: Client,
) -> None:
    insert(client, "process_usage_raw", [process(BASE, pool="experiment")])
    insert(client, "gpu_usage_raw", [gpu(BASE)])
    insert(client, "endpoint_traffic_raw", [served(BASE)])
    rollup = Rollup(client, settle_s=0)
    rollup.run_once()
    keep(client, "hourly", 2)
    client.command("TRUNCATE TABLE rolled_hours")
    rollup.sweep(keep_s=0)
    assert [versions(client, table) for table in TABLES] == [1] * len(TABLES)


def test_rollup_when_many_hours_wait_then_the_newest_comes_first_and_then_the_oldest(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup_module, "HOURS_AT_ONCE", 2)
    hours = [BASE + timedelta(hours=hour) for hour in range(4)]
    insert(client, "process_usage_raw", [process(hour) for hour in hours])
    rollup = Rollup(client, settle_s=0)
    assert rollup.run_once() == 2
    rolled = client.query("SELECT hour FROM usage_hourly ORDER BY hour", tz_mode="aware")
    assert [row[0] for row in rolled.result_rows] == [hours[0], hours[3]]
    assert (rollup.run_once(), rollup.run_once()) == (2, 0)


def test_rollup_when_raw_rows_have_expired_then_late_rows_do_not_replace_the_hour(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    insert(client, "gpu_usage_raw", [gpu(BASE), gpu(BASE, gpu="GPU-1")])
    insert(client, "process_usage_raw", [process(BASE), process(BASE, gpu="GPU-1")])
    rollup = Rollup(client, settle_s=0)
    rollup.run_once()
    keep(client, "raw", 2)
    for table in ("gpu_usage_raw", "process_usage_raw"):
        client.command(f"TRUNCATE TABLE {table}")
    with caplog.at_level(logging.WARNING):
        for table, row in (("process_usage_raw", process(BASE)), ("gpu_usage_raw", gpu(BASE))):
            insert(client, table, [row])
            assert (rollup.run_once(), rollup.run_once()) == (1, 0)
    assert held_by_team(client) == {"search": 20_000}
    assert "event=rollup_kept" in caplog.text


def test_run_when_clickhouse_dies_then_it_says_so_once_and_goes_on_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = EmbeddedServer(tmp_path)
    server.start()
    config = replace(server.store, database="books")
    with connect(config, create_database=True) as client:
        migrate(client)
    stop = threading.Event()
    rollup = Rollup(connect(config), settle_s=0, pause_s=0.02)
    caplog.set_level(logging.INFO, "gpuledger_collector.rollup")
    thread = threading.Thread(target=rollup.run, args=(stop,))
    thread.start()
    try:
        server.stop()
        until(lambda: "event=rollup_failed" in caplog.text)
        server.start()
        with connect(replace(server.store, database="books")) as client:
            insert(client, "process_usage_raw", [process(BASE)])
            until(lambda: held_by_team(client) == {"search": 10_000})
        until(lambda: "event=rollup_works_again" in caplog.text)
    finally:
        stop.set()
        thread.join()
        server.stop()
    assert caplog.text.count("event=rollup_failed") == 1


def test_run_when_clickhouse_says_very_much_then_one_line_of_it_is_logged_with_its_number(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.command("DROP TABLE touched_hours")
    # The column that says when is worked out when it is read, which fails.
    client.command(
        "CREATE TABLE touched_hours (hour DateTime('UTC'), touched_at DateTime64(6, 'UTC') ALIAS"
        f" throwIf(hour > 0, '{'so it goes on ' * 1000}')) ENGINE = MergeTree ORDER BY hour"
    )
    client.command("INSERT INTO touched_hours (hour) SELECT now()")
    stop = threading.Event()
    thread = threading.Thread(target=Rollup(client, settle_s=0, pause_s=0.02).run, args=(stop,))
    thread.start()
    try:
        until(lambda: "event=rollup_failed" in caplog.text)
    finally:
        stop.set()
        thread.join()
    [told] = [record.getMessage() for record in caplog.records if "failed" in record.getMessage()]
    assert "so it goes on" in told
    assert "(ClickHouse error 395)" in told
    assert "\n" not in told
    assert len(told) < 700
