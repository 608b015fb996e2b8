"""From a finding to a message: a real ClickHouse on one side, real sockets on the other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger import acks
from gpuledger_collector.ledger.notify import config
from tests.notifier_fixture import Telling
from tests.notify_receivers import HttpReceiver, http_receiver

T0 = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)

Make = Callable[..., Telling]


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


@pytest.fixture
def telling(client: Client, receiver: HttpReceiver, key_file: Path, tmp_path: Path) -> Make:
    """Makes a notifier of webhook `chat`; `more` stands in its table, `rest` after it."""

    def make(more: str = "", rest: str = "", **how: float) -> Telling:
        path = tmp_path / "notify.toml"
        path.write_text(
            dedent(f"""
            [default]
            receivers = ["chat"]
            [receiver.chat]
            type = "webhook"
            url = "{receiver.url}/hook"
            secret_file = "{key_file}"
            """)
            + f"{more}\n{dedent(rest)}"
        )
        return Telling(client, config.load(path), **how)

    return make


def told(receiver: HttpReceiver) -> list[tuple[str, str]]:
    """Type and subject of every message that arrived."""
    return [(h.json["type"], h.json["data"].get("subject", "")) for h in receiver.heard]


def test_notifier_when_a_finding_lives_then_each_state_is_told_once(
    telling: Make, receiver: HttpReceiver
) -> None:
    books = telling()
    for minutes, severity in enumerate(["warning", "warning", "critical", "critical", "info"]):
        books.find("a", at=at(minutes), severity=severity)
        books.run()
        books.run()
    books.find(at=at(10))
    books.run()
    books.run()
    books.find("a", at=at(15))
    books.run()
    assert told(receiver) == [
        ("finding.opened", "a"),
        ("finding.escalated", "a"),
        ("finding.eased", "a"),
        ("finding.resolved", "a"),
        ("finding.opened", "a"),
    ]
    assert books.rows("state, number, attempts") == [
        ("sent", 1, 0), ("sent", 2, 0), ("sent", 3, 0), ("sent", 4, 0), ("sent", 1, 0),
    ]  # fmt: skip
    assert len({heard.headers["webhook-id"] for heard in receiver.heard}) == 5
    assert (books.metric("sent_total", "chat"), books.metric("waiting", "chat")) == (5, 0)


def test_notifier_when_acknowledged_then_it_rests_and_a_change_is_told_afterwards(
    telling: Make, receiver: HttpReceiver, client: Client
) -> None:
    books = telling()
    books.find("a", at=at(0))
    [(finding,)] = client.query("SELECT id FROM findings").result_rows
    acks.acknowledge(client, finding, datetime.now(UTC) + timedelta(days=1), "ann", "launch")
    books.run()
    assert told(receiver) == []
    acks.acknowledge(client, finding, datetime.now(UTC) - timedelta(days=1), "ann", "over")
    books.run()
    acks.acknowledge(client, finding, datetime.now(UTC) + timedelta(days=1), "ann", "launch")
    books.find("a", at=at(5), severity="critical")
    books.run()
    assert told(receiver) == [("finding.opened", "a")]
    books.find(at=at(10))
    books.run()
    assert told(receiver) == [("finding.opened", "a"), ("finding.resolved", "a")]


def test_notifier_when_routes_differ_then_the_first_that_matches_counts_and_ends_follow_begins(
    telling: Make, receiver: HttpReceiver, key_file: Path
) -> None:
    with http_receiver() as other:
        books = telling(
            rest=f"""
            [receiver.pager]
            type = "webhook"
            url = "{other.url}"
            secret_file = "{key_file}"
            [[route]]
            teams = ["search"]
            severity = "critical"
            receivers = ["chat", "pager"]
            [[route]]
            teams = ["search"]
            receivers = ["pager"]
            """
        )
        books.find("a", at=at(0), team="speech")
        books.run()
        assert (told(receiver), told(other)) == ([("finding.opened", "a")], [])
        books.find("a", "b", at=at(5), team="search")
        books.run()
        assert sorted(told(other)) == [("finding.opened", "a"), ("finding.opened", "b")]
        books.find(at=at(10))
        books.run()
        assert sorted(told(receiver)) == [("finding.opened", "a"), ("finding.resolved", "a")]
        assert sorted(told(other)[2:]) == [("finding.resolved", "a"), ("finding.resolved", "b")]


def test_notifier_when_the_receiver_fails_then_it_is_tried_again_later_with_the_same_id(
    telling: Make, receiver: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    books = telling(backoff_s=0.0)
    receiver.answer(500, times=2)
    receiver.answer(503)
    books.find("a", at=at(0))
    with caplog.at_level(logging.INFO, "gpuledger_collector.ledger.notify"):
        for _ in range(4):
            books.run()
    assert len({heard.headers["webhook-id"] for heard in receiver.heard}) == 1
    assert len({heard.body for heard in receiver.heard}) == 1
    assert len(receiver.heard) == 4
    assert books.rows("state, attempts, fault") == [("sent", 3, "")]
    lines = [message for message in caplog.messages if "event=notify_leads" not in message]
    fails = (
        "event=notify_fails receiver=chat fault=status_{} reason='{}: answers {}' it is tried again"
    )
    assert lines == [
        fails.format(500, receiver.url, "500 Internal Server Error"),
        fails.format(503, receiver.url, "503 Service Unavailable"),
        "event=notify_works_again receiver=chat",
    ]
    assert (books.metric("failed_total", "chat"), books.metric("sent_total", "chat")) == (3, 1)


def test_notifier_when_the_receiver_asks_for_time_then_it_has_it_even_from_the_next_collector(
    telling: Make, receiver: HttpReceiver
) -> None:
    books = telling(backoff_s=0.0)
    receiver.answer(429, Retry_After="3000")
    books.find("a", "b", at=at(0))
    books.run()
    books.run()
    books.lease.release(books.client)
    after = books.again()
    after.run()
    assert len(receiver.heard) == 1
    assert after.metric("waiting", "chat") == 2
    left = "not_before > now() + INTERVAL 2900 SECOND"
    assert books.rows(left, "attempts > 0") == [(1,)]


def test_notifier_when_it_fails_again_and_again_then_it_waits_twice_as_long_each_time(
    telling: Make, receiver: HttpReceiver, client: Client
) -> None:
    books = telling(backoff_s=100.0)
    receiver.answer(500, times=3)
    books.find("a", at=at(0))
    waits = []
    for _ in range(3):
        books.run()
        waits += books.rows("round((toFloat64(not_before) - toFloat64(said_at)) / 100)")
        client.command(
            "INSERT INTO notification_versions SELECT * REPLACE (toDateTime(0) AS not_before,"
            " now64(6) AS said_at) FROM notification_versions FINAL"
        )
    assert waits == [(1,), (2,), (4,)]


def test_notifier_when_a_message_is_refused_again_and_again_then_it_is_given_up_and_others_go_on(
    telling: Make, receiver: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    books = telling(backoff_s=0.0)
    receiver.answer(400, times=3)
    books.find("a", at=at(0))
    books.run()
    books.find("a", "b", at=at(5))
    for _ in range(3):
        books.run()
    assert books.rows("subject, state, attempts") == [("a", "failed", 3), ("b", "sent", 0)]
    assert told(receiver)[-1] == ("finding.opened", "b")
    assert "event=notify_gives_up" in caplog.text
    assert books.metric("given_up_total", "chat") == 1
    books.find("b", at=at(10))
    books.run()
    assert told(receiver)[-1] == ("finding.opened", "b")
    assert books.rows("change, state", "subject = 'a'")[-1] == ("resolved", "failed")


def test_notifier_when_a_receiver_is_down_for_days_then_it_is_given_up_with_a_line(
    telling: Make, receiver: HttpReceiver, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    books = telling(backoff_s=0.0)
    receiver.answer(500, times=2)
    books.find("a", at=at(0))
    books.run()
    client.command(
        "INSERT INTO notification_versions SELECT * REPLACE (noticed_at - INTERVAL 73 HOUR"
        " AS noticed_at, now64(6) AS said_at) FROM notification_versions FINAL"
    )
    books.run()
    assert books.rows("state, attempts") == [("failed", 2)]
    assert "event=notify_gives_up receiver=chat" in caplog.text


def test_notifier_when_there_is_more_than_the_rate_allows_then_the_excess_is_one_message(
    telling: Make, receiver: HttpReceiver
) -> None:
    books = telling("burst = 3\nper_minute = 0.01")
    books.find(*(f"s{n:02}" for n in range(20)), at=at(0))
    books.run()
    assert [kind for kind, _ in told(receiver)] == [
        "finding.opened", "finding.opened", "findings.joined",
    ]  # fmt: skip
    joined = receiver.heard[-1].json["data"]["findings"]
    single = [subject for _, subject in told(receiver)[:2]]
    assert sorted(single + [each["subject"] for each in joined]) == [f"s{n:02}" for n in range(20)]
    assert books.rows("DISTINCT state") == [("sent",)]
    books.find(at=at(5))
    books.run()
    books.lease.release(books.client)
    after = books.again()
    after.run()
    assert len(receiver.heard) == 3
    assert after.metric("waiting", "chat") == 20


def test_notifier_when_one_receiver_is_down_then_others_hear_at_once(
    telling: Make, receiver: HttpReceiver, key_file: Path
) -> None:
    with http_receiver() as other:
        receiver.answer(500, times=9)
        books = telling(
            rest=f"""
            [receiver.other]
            type = "webhook"
            url = "{other.url}"
            secret_file = "{key_file}"
            [[route]]
            receivers = ["chat", "other"]
            """
        )
        books.find("a", at=at(0))
        books.run()
        assert told(other) == [("finding.opened", "a")]
        assert books.rows("receiver, state") == [("chat", "waiting"), ("other", "sent")]


def test_notifier_when_findings_are_grouped_then_a_group_is_one_message(
    telling: Make, receiver: HttpReceiver
) -> None:
    books = telling(rest='[[route]]\nreceivers = ["chat"]\ngroup_by = ["team", "rule"]')
    books.find("a", "b", at=at(0))
    books.run()
    [heard] = receiver.heard
    assert [each["subject"] for each in heard.json["data"]["findings"]] == ["a", "b"]


def test_notifier_when_a_receiver_trips_over_a_bug_then_others_go_on(
    telling: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = telling(backoff_s=0.0)
    books.find("a", "b", at=at(0))
    [chat] = books.config.receivers.values()
    whole, send = [], type(chat.channel).send

    def trips(channel: object, message: object, *rest: object) -> None:
        whole.append(message)
        if len(whole) <= 3:
            raise ZeroDivisionError
        send(channel, message, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(chat.channel), "send", trips)
    for _ in range(4):
        books.run()
    assert sorted(books.rows("state, fault")) == [("failed", "ZeroDivisionError"), ("sent", "")]
