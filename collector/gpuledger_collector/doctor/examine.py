"""Everything the doctor looks at, in the order in which one thing depends on another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from gpuledger_agent.check_result import Check, Verdict
from gpuledger_collector.doctor import agents, books, declared, disk
from gpuledger_collector.store.client import StoreConfig, StoreError, connect, one_line

CLOCK_WARN_S = 2.0
CLOCK_FAIL_S = 60.0
"""Difference between two clocks; above the latter, windows land in other hours."""


def examine(
    store: StoreConfig, minutes: int, now: Callable[[], float] = time.time
) -> Iterator[Check]:
    """Look at the books and those who write them. `minutes`: so long may an agent be silent.

    `now`: this host's clock, UTC seconds since the epoch.
    """
    try:
        client = connect(store)
    except StoreError as error:
        text, _, todo = str(error).partition("; ")
        yield Check(Verdict.FAIL, "ClickHouse", text, todo)
        return
    with client:
        yield Check(Verdict.OK, "ClickHouse", f"{store.url}, version {client.server_version}")
        yield _asked(client, "clock", lambda asked: clock(asked, now))
        schema = _asked(client, "schema", books.schema)
        yield schema
        if schema.verdict is not Verdict.FAIL:
            for subject, look in _looks(minutes):
                yield _asked(client, subject, look)


def clock(client: Client, now: Callable[[], float]) -> Check:
    """How far this host's clock is from ClickHouse's."""
    before = now()
    [(there,)] = client.query("SELECT toUnixTimestamp64Milli(now64(3)) / 1000").result_rows
    # Anything that the time of the question itself explains is no difference.
    ahead = max(before - there, there - now(), 0.0)
    if ahead < CLOCK_WARN_S:
        return Check(Verdict.OK, "clock", "agrees with that of ClickHouse")
    verdict = Verdict.FAIL if ahead >= CLOCK_FAIL_S else Verdict.WARN
    todo = "let NTP or chrony set both"
    return Check(verdict, "clock", f"{ahead:.0f} s from that of ClickHouse", todo)


def _looks(minutes: int) -> Iterator[tuple[str, Callable[[Client], Check]]]:
    yield "retention", books.kept
    yield "names", books.names
    yield "disk", disk.space
    yield "parts", disk.parts
    yield "roll-ups", books.rollups
    yield "agents", lambda client: agents.silent(client, minutes)
    yield "spools", agents.backlog
    yield "versions", agents.versions
    yield "gaps", agents.gaps
    yield "owners", declared.owners
    yield "prices", declared.prices
    yield "requests", declared.requests


def _asked(client: Client, subject: str, look: Callable[[Client], Check]) -> Check:
    """What was found; a user who may not read something is told so, and is no fault."""
    try:
        found = look(client)
    except (ClickHouseError, StoreError, OSError) as error:
        return _unanswered(subject, one_line(error))
    # Errors of the migrations come as a finding of theirs.
    return _unanswered(subject, found.text) if _denied(found.text) else found


def _unanswered(subject: str, why: str) -> Check:
    if _denied(why):
        return Check(Verdict.WARN, subject, f"not seen: {why}", "ask as admin (--username)")
    return Check(Verdict.FAIL, subject, why, "ask again; then see ClickHouse's log")


def _denied(text: str) -> bool:
    """497 is ACCESS_DENIED."""
    return "Not enough privileges" in text or "(ClickHouse error 497)" in text
