"""What Alertmanager is told again and again: a real ClickHouse here, a socket there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger import acks
from gpuledger_collector.ledger.notify import config
from tests.notifier_fixture import Telling
from tests.notify_receivers import HttpReceiver

T0 = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


@pytest.fixture
def books(client: Client, receiver: HttpReceiver, tmp_path: Path) -> Telling:
    """A notifier of an Alertmanager, `am`."""
    path = tmp_path / "notify.toml"
    path.write_text(
        f'[default]\nreceivers = ["am"]\n[receiver.am]\ntype = "alertmanager"\n'
        f'url = "{receiver.url}"\nresend_seconds = 3600\n'
    )
    return Telling(client, config.load(path))


def test_alertmanager_when_renewing_trips_over_a_bug_then_what_is_new_is_told_all_the_same(
    books: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.find("a", at=at(0))
    books.run()

    def trips(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(books.config.receivers["am"].channel), "renew", trips)
    books.lease.release(books.client)
    other = books.again()
    other.run()
    assert other.metric("failed_total", "am") == 1
    other.find("a", "b", at=at(1))
    other.run()
    assert other.rows("subject, state") == [("a", "sent"), ("b", "sent")]


def test_alertmanager_when_a_finding_stays_open_then_it_is_told_again_until_it_is_not(
    books: Telling, client: Client, receiver: HttpReceiver
) -> None:
    books.find("a", "b", at=at(0))
    books.run()
    books.run()
    [first] = receiver.heard
    assert len(first.json) == 2
    books.lease.release(client)
    other = books.again()
    other.run()
    [_, again] = receiver.heard
    assert [a["labels"] for a in again.json] == [a["labels"] for a in first.json]
    assert again.json[0]["endsAt"] > first.json[0]["endsAt"]
    [(finding,)] = client.query("SELECT id FROM findings WHERE subject = 'a'").result_rows
    acks.acknowledge(client, finding, datetime.now(UTC) + timedelta(days=1), "ann", "launch")
    other.lease.release(client)
    books.again().run()
    [_, _, resting] = receiver.heard
    assert [a["labels"]["finding"] for a in resting.json] != [finding]
    assert len(resting.json) == 1
