"""Leases: one holds, whoever else wants to; its end lets the next one in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger.notify.lease import Lease
from gpuledger_collector.store.client import StoreConfig, connect
from tests.waiting import wait_until

NEVER = threading.Event()


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def lease(lease_s: float = 60.0, clock: Clock | None = None) -> Lease:
    return Lease(lease_s, settle_s=0.2, need_s=lease_s / 4, clock=clock or Clock())


def hold(wanted: Lease, client: Client) -> None:
    """Hold; on a busy machine a claim may take several attempts."""
    wait_until(lambda: wanted.hold(client, NEVER))


@pytest.fixture
def clients(database: StoreConfig) -> Iterator[list[Client]]:
    """A connection for each of several collectors."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(database)) for _ in range(4)]


def test_lease_when_nobody_holds_then_it_holds_and_others_do_not(clients: list[Client]) -> None:
    first, second = lease(), lease()
    hold(first, clients[0])
    assert not second.hold(clients[1], NEVER)
    hold(first, clients[0])
    assert first.holder
    assert not second.holder


def test_lease_when_released_then_the_next_one_holds_at_once(clients: list[Client]) -> None:
    first, second = lease(), lease()
    hold(first, clients[0])
    first.release(clients[0])
    hold(second, clients[1])
    assert not first.hold(clients[0], NEVER)


def test_lease_when_its_holder_is_gone_then_the_next_one_holds_when_it_has_ended(
    clients: list[Client],
) -> None:
    hold(lease(1.5), clients[0])
    second = lease()
    wait_until(lambda: second.hold(clients[1], NEVER))


def test_lease_when_renewed_then_it_keeps_others_out_beyond_its_first_end(
    clients: list[Client],
) -> None:
    clock = Clock()
    first, second = lease(60.0, clock), lease()
    hold(first, clients[0])
    holder = first.holder
    clock.now += 40.0
    hold(first, clients[0])
    assert (first.holder, first.left_s()) == (holder, 60.0)
    renewed = "SELECT count() FROM notifier_leases WHERE holder = {holder:String}"
    assert clients[0].query(renewed, parameters={"holder": holder}).result_rows == [(2,)]
    assert not second.hold(clients[1], NEVER)


def test_lease_when_too_little_of_it_is_left_then_it_does_not_count_as_held() -> None:
    clock = Clock()
    held = lease(60.0, clock)
    held._holder, held._ends = "me", clock.now + 10.0
    assert held.left_s() == 10.0
    clock.now += 10.0
    assert held.holder == ""


def test_lease_when_its_time_is_over_by_its_own_clock_then_it_must_claim_anew(
    clients: list[Client],
) -> None:
    clock = Clock()
    slept = lease(60.0, clock)
    hold(slept, clients[0])
    clock.now += 61.0
    # By ClickHouse's clock it has not ended: nobody holds until it has.
    assert not slept.hold(clients[0], NEVER)


@pytest.mark.parametrize("taken", [False, True])
def test_lease_when_its_renewal_comes_too_late_then_it_must_claim_anew(
    clients: list[Client], taken: bool
) -> None:
    clock = Clock()
    late, other = lease(1.0, clock), lease()
    hold(late, clients[0])
    before = late.holder
    clock.now += 0.6
    ended = "SELECT max(until) < now64(6, 'UTC') FROM notifier_leases"
    wait_until(lambda: clients[1].query(ended).result_rows == [(1,)])
    if taken:
        hold(other, clients[1])
        assert not late.hold(clients[0], NEVER)
    else:
        hold(late, clients[0])
    assert late.holder != before


def test_lease_when_a_claim_takes_too_long_to_write_then_it_does_not_count(
    clients: list[Client], caplog: pytest.LogCaptureFixture
) -> None:
    hasty = Lease(60.0, settle_s=0.0, need_s=1.0, clock=Clock())
    assert not hasty.hold(clients[0], NEVER)
    assert not hasty.hold(clients[0], NEVER)
    assert caplog.text.count("event=notify_claim_late") == 1
    hold(lease(), clients[1])


def test_lease_when_an_earlier_claim_shows_up_then_the_later_one_gives_way(
    clients: list[Client],
) -> None:
    """A claim that began first, and was written while the other waited."""

    class Late(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            clients[1].command(
                "INSERT INTO notifier_leases SELECT 'earlier', now64(6) - 1, now64(6) + 60"
            )
            return super().wait(timeout)

    later = lease()
    assert not later.hold(clients[0], Late())
    clients[1].command("INSERT INTO notifier_leases SELECT 'earlier', now64(6), now64(6)")
    hold(later, clients[0])


def test_lease_when_many_claim_at_once_then_never_more_than_one_holds(
    clients: list[Client],
) -> None:
    begin = threading.Barrier(len(clients))
    for _ in range(5):
        held: list[Lease] = []
        leases = [lease() for _ in clients]

        def claim(number: int, leases: list[Lease] = leases, held: list[Lease] = held) -> None:
            begin.wait()
            if leases[number].hold(clients[number], NEVER):
                held.append(leases[number])

        threads = [threading.Thread(target=claim, args=(n,)) for n in range(len(clients))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(held) <= 1
        for each in held:
            each.release(clients[0])
