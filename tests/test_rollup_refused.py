"""An hour or a day that ClickHouse will not compute holds up no other, and is not given up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from gpuledger_collector import put_off
from gpuledger_collector.rollup import Rollup
from gpuledger_collector.rollup_days import DayRollup
from gpuledger_collector.store.client import connect
from gpuledger_collector.store.embedded import EmbeddedServer
from tests.ledger_fleet import BASE, insert, process

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BASE_HOUR = f"toDateTime('{BASE:%Y-%m-%d %H}:00:00', 'UTC')"


@contextmanager
def refused(client: Client, table: str, condition: str) -> Iterator[None]:
    """ClickHouse takes no rows for which this is true."""
    client.command(f"ALTER TABLE {table} ADD CONSTRAINT refusing CHECK NOT ({condition})")
    try:
        yield
    finally:
        client.command(f"ALTER TABLE {table} DROP CONSTRAINT refusing")


def _computed(client: Client, table: str, column: str) -> list[object]:
    return [at for (at,) in client.query(f"SELECT {column} FROM {table} ORDER BY 1").result_rows]


def test_hours_when_one_is_refused_then_the_others_are_computed_and_it_is_told_once(
    client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(client, "process_usage_raw", [process(BASE + n * HOUR) for n in (-1, 0, 1, 2)])
    told: list[None] = []
    caplog.set_level(logging.INFO)
    rollup = Rollup(client, settle_s=0, refused=lambda: told.append(None))
    with refused(client, "usage_hourly_versions", f"hour = {BASE_HOUR}"):
        assert rollup.run_once() == 4
        assert len(_computed(client, "rolled_hours", "hour")) == 3
        assert rollup.run_once() == 0, "it is left alone for a while"
        assert (len(told), caplog.text.count("event=rollup_refused")) == (1, 1)
        assert f"of='{BASE:%Y-%m-%d %H}:00:00'" in caplog.text
        assert "(ClickHouse error 469)" in caplog.text
        monkeypatch.setattr(put_off, "PUT_OFF_S", 0.0)
        rollup = Rollup(client, settle_s=0, refused=lambda: told.append(None))
        assert (rollup.run_once(), rollup.run_once()) == (1, 1)
        assert (len(told), caplog.text.count("event=rollup_refused")) == (3, 2)
    assert (rollup.run_once(), rollup.run_once()) == (1, 0)
    assert len(_computed(client, "rolled_hours", "hour")) == 4
    assert caplog.text.count("event=rollup_taken") == 1


def test_days_when_one_is_refused_then_the_next_is_computed(client: Client) -> None:
    insert(client, "process_usage_raw", [process(BASE), process(BASE + DAY)])
    assert Rollup(client, settle_s=0).run_once() == 2
    told: list[None] = []
    days = DayRollup(client, rest_s=0, refused=lambda: told.append(None))
    with refused(client, "usage_daily_versions", f"day = toDate({BASE_HOUR})"):
        assert [days.run_once() for _ in range(3)] == [1, 1, 0]
    assert len(told) == 1
    assert _computed(client, "rolled_days", "day") == [(BASE + DAY).date()]


def test_hours_when_clickhouse_is_away_then_none_is_put_off(tmp_path: Path) -> None:
    told: list[None] = []
    held = put_off.PutOff(lambda: told.append(None))
    with EmbeddedServer(tmp_path) as server:
        client = connect(server.store, create_database=True)
    with pytest.raises((ClickHouseError, OSError)), held.attempt("an hour"):
        client.command("SELECT 1")
    assert (held.names(), told) == ([], [])
