"""What happens when windows and hours really go: the real `gpuledger migrate`, TTLs and merges."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from clickhouse_connect.driver.client import Client

from gpuledger_collector import window_age
from gpuledger_collector.cli import cli
from gpuledger_collector.rollup import Rollup
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.store.client import StoreConfig, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate
from gpuledger_collector.store.retention import TABLES
from gpuledger_collector.window_age import WindowAge
from tests.collector_fixture import WireAgent, batch, present_window, settings_for
from tests.day_books import figures, held_by_day, roll_up, same_as
from tests.ledger_fleet import BASE, gpu, grant, insert, process
from tests.traffic_books import served
from tests.waiting import wait_until

DAY_S = 86_400

OLD = BASE - timedelta(days=40)
"""A day of another month, so that no part of a table holds OLD and BASE."""


def retain(store: StoreConfig, raw: str, hourly: str) -> None:
    options = ["--clickhouse-url", store.url, "--database", store.database]
    flags = [f"--retention-raw={raw}", f"--retention-hourly={hourly}"]
    result = CliRunner().invoke(cli, ["migrate", *flags, *options])
    assert result.exit_code == 0, result.stderr


def post_windows(client: Client, at: datetime) -> None:
    """A window of a GPU that one process holds, and of one that was granted in vain."""
    insert(client, "gpu_usage_raw", [gpu(at), gpu(at, gpu="GPU-1")])
    insert(client, "process_usage_raw", [process(at)])
    insert(client, "gpu_allocation_raw", [grant(at, gpu="GPU-1")])
    insert(client, "endpoint_traffic_raw", [served(at)])
    host = {"cluster": "east", "host": "host-0"}
    insert(client, "telemetry_gaps_raw", [host | {"ts": at, "gap_s": 60, "reason": "disk"}])
    insert(client, "hosts_raw", [host | {"seen_at": BASE}])
    insert(client, "gpus_raw", [host | {"gpu": "GPU-0", "share_milli": 1000, "seen_at": BASE}])


def merge(client: Client) -> None:
    for table in (*TABLES["raw"], *TABLES["hourly"]):
        client.command(f"OPTIMIZE TABLE {table} FINAL")


def rows_before(client: Client, kind: str, day: datetime) -> int:
    """Rows of all tables of a kind that are older than `day`."""
    tables = "database = currentDatabase() AND table IN {tables:Array(String)}"
    columns = client.query(
        f"SELECT table, name FROM system.columns WHERE {tables} AND name IN ('ts', 'hour')",
        parameters={"tables": list(TABLES[kind])},
    ).result_rows
    counts = [
        client.query(f"SELECT countIf({time} < {{day:DateTime}}) FROM {table}", {"day": day})
        for table, time in columns
    ]
    assert len(counts) == len(TABLES[kind])
    return sum(int(count.result_rows[0][0]) for count in counts)


def hours(client: Client) -> list[datetime]:
    """Hours that are shown, by views of all kinds alike."""
    told = [
        client.query(f"SELECT DISTINCT hour FROM {view} ORDER BY hour", tz_mode="aware").result_rows
        for view in ("ledger_hourly", "ledger_balance", "workload_hourly")
    ]
    assert told[0] == told[1] == told[2]
    return [hour for (hour,) in told[0]]


@pytest.fixture
def long_kept(client: Client, database: StoreConfig) -> Client:
    """Books of OLD and BASE, by the hour, that keep windows 60 days and hours 90."""
    retain(database, "60d", "90d")
    client.command(
        "INSERT INTO gpu_prices (gpu_model, usd_per_gpu_hour, applied_at) VALUES ('h100', 2.5, 1)"
    )
    for at in (OLD, BASE):
        post_windows(client, at)
    while Rollup(client, settle_s=0).run_once():
        pass
    assert rows_before(client, "raw", BASE) == 5
    assert rows_before(client, "hourly", BASE) > 0
    return client


def test_expiry_when_retention_is_shortened_then_rows_go_and_days_say_what_they_said(
    long_kept: Client, database: StoreConfig
) -> None:
    said = figures(long_kept)
    retain(database, "14d", "31d")
    assert figures(long_kept) == same_as(said)
    wait_until(lambda: merge(long_kept) or not rows_before(long_kept, "hourly", BASE))
    wait_until(lambda: merge(long_kept) or not rows_before(long_kept, "raw", BASE))
    assert figures(long_kept) == same_as(said)
    assert len(said["waste_by_team"]) == 2
    assert hours(long_kept) == [BASE]
    assert rows_before(long_kept, "raw", BASE + timedelta(hours=1)) == 5


def test_expiry_when_hours_have_gone_then_rows_that_come_still_leave_the_day_alone(
    long_kept: Client, database: StoreConfig
) -> None:
    said = figures(long_kept)
    retain(database, "14d", "31d")
    merge(long_kept)
    insert(long_kept, "process_usage_raw", [process(OLD, team="speech")])
    roll_up(long_kept)
    assert figures(long_kept) == same_as(said)
    retain(database, "60d", "90d")
    insert(long_kept, "process_usage_raw", [process(OLD, team="speech")])
    roll_up(long_kept)
    assert figures(long_kept) == same_as(said)


def test_expiry_when_only_windows_have_gone_then_their_hours_and_day_stand(
    long_kept: Client, database: StoreConfig
) -> None:
    said = figures(long_kept)
    retain(database, "14d", "90d")
    wait_until(lambda: merge(long_kept) or not rows_before(long_kept, "raw", BASE))
    insert(long_kept, "process_usage_raw", [process(OLD, team="speech")])
    roll_up(long_kept)
    assert figures(long_kept) == same_as(said)
    assert hours(long_kept) == [OLD, BASE]


def test_day_when_its_hours_are_there_then_rows_of_weeks_ago_correct_it(
    long_kept: Client, database: StoreConfig
) -> None:
    roll_up(long_kept)
    insert(long_kept, "process_usage_raw", [process(OLD, pid=8, team="speech")])
    while Rollup(long_kept, settle_s=0).run_once():
        pass
    retain(database, "14d", "31d")
    held = pytest.approx(10 / 3600)
    assert held_by_day(long_kept, OLD) == {"search": held, "speech": held}


def test_collector_when_retention_changes_then_older_windows_are_refused(
    database: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_age, "FOLLOW_S", 0.02)
    old = batch(start=present_window() - 10 * DAY_S)
    with CollectorThread(settings_for(database)) as collector:
        with WireAgent(collector.address) as agent:
            agent.send(old)
            assert agent.acks(1) == [1]
        retain(database, "7d", "90d")
        with WireAgent(collector.address) as agent:
            wait_until(lambda: "the window is older than 6 days" in _answer(agent, old))


def _answer(agent: WireAgent, sent: object) -> str:
    """Why the batch was refused; empty if it was taken."""
    agent.send(sent)  # type: ignore[arg-type]
    while (message := agent.hear()).WhichOneof("body") == "welcome":
        pass
    return message.refusal.reason


@pytest.mark.parametrize(
    ("first", "then", "days", "since_midnight"),
    [("14d", "14d", 13, False), ("60d", "14d", 13, False), ("14d", "60d", 13, True)],
)
def test_window_age_when_retention_was_shorter_once_then_what_may_be_gone_is_refused(
    client: Client, database: StoreConfig, first: str, then: str, days: int, since_midnight: bool
) -> None:
    retain(database, first, "90d")
    client.command("INSERT INTO touched_hours SELECT toStartOfHour(now('UTC')), now64(6)")
    retain(database, then, "90d")
    age = WindowAge(database)
    age.read()
    now = time.time()
    assert age.oldest(now) == now - days * DAY_S - (now % DAY_S if since_midnight else 0)


def test_window_age_when_kept_forever_then_no_window_is_too_old(database: StoreConfig) -> None:
    retain(database, "forever", "forever")
    age = WindowAge(database)
    age.read()
    assert age.oldest(float(present_window())) <= 0


def test_collector_when_clickhouse_is_away_then_the_last_retention_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_age, "FOLLOW_S", 0.02)
    monkeypatch.setenv("GPULEDGER_PASSWORD_FILE", str(tmp_path / "password"))
    server = EmbeddedServer(tmp_path)
    server.start()
    store = replace(server.store, database="books")
    with connect(store, create_database=True) as client:
        migrate(client)
    with CollectorThread(settings_for(store)) as collector, WireAgent(collector.address) as agent:
        agent.send(batch())  # its Hello is written before
        agent.acks(1)
        server.stop()
        assert "older than 13 days" in _answer(agent, batch(start=present_window() - 20 * DAY_S))
        server.start()
        retain(store, "7d", "90d")
        old = batch(start=present_window() - 10 * DAY_S)
        wait_until(lambda: "older than 6 days" in _answer(agent, old))
    server.stop()


def test_expiry_when_clickhouse_lives_in_another_time_zone_then_days_end_by_utc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    expiry = (
        "SELECT toUnixTimestamp(max(delete_ttl_info_max)) FROM system.parts"
        " WHERE database = currentDatabase() AND active AND table = {table:String}"
    )
    with EmbeddedServer(tmp_path) as server:
        store = replace(server.store, database="books")
        with connect(store, create_database=True) as client:
            migrate(client)
            assert client.query("SELECT timezone()").result_rows == [("Asia/Tokyo",)]
            post_windows(client, BASE)
            roll_up(client)
            for table, days in (("gpu_usage_raw", 14), ("usage_hourly_versions", 403)):
                [(expires,)] = client.query(expiry, parameters={"table": table}).result_rows
                midnight = BASE.timestamp() // DAY_S * DAY_S
                assert expires == midnight + days * DAY_S + 3600
