"""Collectors that are killed, several at once, a ClickHouse that goes away: what is told then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from gpuledger_collector.ledger.notify import config
from gpuledger_collector.ledger.notify.lease import Lease
from gpuledger_collector.ledger.notify.outbox import Outbox
from gpuledger_collector.ledger.notify.planning import plan
from gpuledger_collector.store.client import StoreConfig, connect
from tests.faults.proxy import proxied
from tests.notifier_fixture import Telling, new_lease
from tests.notify_receivers import Heard, HttpReceiver
from tests.waiting import wait_until

NOBODY = "127.0.0.1:1"
"""Where no ClickHouse answers."""


@pytest.fixture
def file(receiver: HttpReceiver, key_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "notify.toml"
    path.write_text(
        f'[default]\nreceivers = ["chat"]\n[receiver.chat]\ntype = "webhook"\nburst = 2\n'
        f'per_minute = 6000\nurl = "{receiver.url}"\nsecret_file = "{key_file}"\n'
    )
    return path


@pytest.fixture
def books(client: Client, file: Path) -> Telling:
    return Telling(client, config.load(file))


class Processes:
    """Notifiers that run as processes."""

    def __init__(self, database: StoreConfig, file: Path) -> None:
        self._arguments = [database.url, database.database, str(file)]
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, lease_s: float) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.notifier_process", *self._arguments, str(lease_s)]
        self.running.append(subprocess.Popen(command))
        return self.running[-1]


@pytest.fixture
def processes(database: StoreConfig, file: Path) -> Iterator[Processes]:
    made = Processes(database, file)
    yield made
    for process in made.running:
        process.kill()
        process.wait()


def ids(receiver: HttpReceiver) -> Counter[str]:
    return Counter(heard.headers["webhook-id"] for heard in receiver.heard)


def test_notifier_when_killed_after_sending_and_before_recording_then_the_twin_has_the_same_id(
    books: Telling, receiver: HttpReceiver, processes: Processes
) -> None:
    books.find("a", "b", "c", "d", "e")
    killed: list[int] = []

    def kill(_: Heard) -> None:
        """The message is here; whoever sent it never learns that."""
        if len(killed) < 3:
            killed.append(processes.running[-1].pid)
            os.kill(killed[-1], signal.SIGKILL)

    receiver.before = kill
    for turn in range(3):
        processes.start(2.5)
        wait_until(lambda turn=turn: len(killed) > turn)
        processes.running[-1].wait()
    processes.start(2.5)
    wait_until(lambda: books.rows("DISTINCT state") == [("sent",)])
    # One message was heard by all four processes; the rest, joined with what came, once.
    assert sorted(ids(receiver).values()) == [1, 4]
    bodies = {(heard.headers["webhook-id"], heard.body) for heard in receiver.heard}
    assert len(bodies) == 2
    told = [
        finding["subject"]
        for body in {heard.body: heard.json for heard in receiver.heard}.values()
        for finding in body["data"].get("findings", [body["data"]])
    ]
    assert sorted(told) == ["a", "b", "c", "d", "e"]


def test_notifier_when_more_comes_after_it_was_killed_then_its_joint_message_stays_as_it_was(
    books: Telling, receiver: HttpReceiver, processes: Processes
) -> None:
    books.find("a", "b", "c")

    def kill(heard: Heard) -> None:
        if heard.json["type"] == "findings.joined":
            processes.running[0].kill()

    receiver.before = kill
    processes.start(2.5).wait()
    receiver.before = lambda _: None
    books.find("a", "b", "c", "d", "e", "f")
    processes.start(60)
    wait_until(lambda: books.rows("DISTINCT state") == [("sent",)])
    _, joint, twin, *_ = receiver.heard
    assert len(joint.json["data"]["findings"]) == 2
    assert joint.headers["webhook-id"] == twin.headers["webhook-id"]
    assert joint.body == twin.body


def test_notifier_when_several_collectors_run_then_each_state_is_sent_once(
    books: Telling, database: StoreConfig, receiver: HttpReceiver
) -> None:
    stop = threading.Event()
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(database)) for _ in range(3)]
        others = [books.again(client=client, stop=stop, lease=new_lease(1.0)) for client in clients]
        threads = [
            threading.Thread(target=each.notifier.run, args=(each.client, stop, 0.02))
            for each in others
        ]
        for thread in threads:
            thread.start()
        for turn in range(4):
            books.find(*(f"s{n}" for n in range(turn, turn + 4)))
            wait_until(lambda: bool(books.rows("1")) and not books.rows("1", "state != 'sent'"))
        stop.set()
        for thread in threads:
            thread.join()
    assert set(ids(receiver).values()) == {1}
    by_subject = Counter(subject for (subject,) in books.rows("subject"))
    assert by_subject["s3"] == 1
    assert by_subject["s0"] == 2
    assert sum(each.metric("sent_total", "chat") > 0 for each in others) == 1


def test_notifier_when_two_hold_against_all_promises_then_the_twins_have_the_same_id(
    books: Telling, receiver: HttpReceiver, client: Client
) -> None:
    """As where a replica is behind, or a machine was stopped while it sent."""
    books.find("a")
    other = books.again()

    def tell_too(_: Heard) -> None:
        receiver.before = lambda _: None
        client.command("TRUNCATE TABLE notifier_leases")
        other.run()

    receiver.before = tell_too
    books.run()
    assert set(ids(receiver).values()) == {2}
    assert books.rows("state, number") == [("sent", 1)]
    books.run()
    other.run()
    assert len(receiver.heard) == 2


def test_notifier_when_its_lease_is_over_in_the_middle_then_it_sends_no_more(
    books: Telling, receiver: HttpReceiver
) -> None:
    slept = [0.0]
    sleepy = Lease(60.0, settle_s=0.2, need_s=1.0, clock=lambda: time.monotonic() + slept[0])
    there = books.again(lease=sleepy)
    books.find("a", "b")
    receiver.before = lambda _: slept.__setitem__(0, 61.0)
    there.run()
    assert len(receiver.heard) == 1
    assert sorted(books.rows("state")) == [("sent",), ("waiting",)]


def test_outbox_when_somebody_late_says_that_it_waits_then_what_was_sent_stays_sent(
    books: Telling, client: Client
) -> None:
    books.find("a")
    outbox = Outbox(client)
    late = plan(outbox.found(), [], books.config.route, outbox.now())
    books.run()
    outbox.save(late)
    assert books.rows("state") == [("sent",)]
    client.command("OPTIMIZE TABLE notification_versions FINAL")
    assert books.rows("state") == [("sent",)]


def test_notifier_when_clickhouse_goes_away_after_sending_then_it_is_recorded_when_it_is_back(
    books: Telling, database: StoreConfig, receiver: HttpReceiver
) -> None:
    books.find("a")
    with proxied(database.url) as proxy:
        here = proxy.upstream

        def go_away(_: Heard) -> None:
            proxy.in_mid_insert = lambda: setattr(proxy, "upstream", NOBODY)

        with connect(replace(database, url=proxy.url)) as far:
            there = books.again(client=far)
            receiver.before = go_away
            with pytest.raises((ClickHouseError, OSError)):
                there.run()
        assert books.rows("state") == [("waiting",)]
        proxy.upstream = here
        with connect(replace(database, url=proxy.url)) as far:
            there.client = far
            there.run()
    assert len(receiver.heard) == 1
    assert books.rows("state") == [("sent",)]


def test_notifier_when_told_to_stop_then_it_ends_after_the_message_and_lets_the_next_one_in(
    books: Telling, receiver: HttpReceiver
) -> None:
    books.find("a", "b")
    receiver.before = lambda _: books.stop.set()
    books.notifier.run(books.client, books.stop)
    assert len(receiver.heard) == 1
    assert sorted(books.rows("state")) == [("sent",), ("waiting",)]
    after = books.again(stop=threading.Event())
    after.run()
    assert sorted(ids(receiver).values()) == [1, 1]
