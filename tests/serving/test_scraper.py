"""The scraper's threads, with real servers: windows out, whatever a server does."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from gpuledger_agent.clock import SteadyClock
from gpuledger_agent.serving import fetch as fetching
from gpuledger_agent.serving import scraper as scraping
from gpuledger_agent.serving import server as asking
from gpuledger_agent.serving.families import Column
from gpuledger_agent.serving.scraper import THREADS, Scraper
from gpuledger_agent.serving.subjects import Subject
from gpuledger_agent.serving.traffic import Traffic
from tests.serving import lookalike as engine
from tests.serving.exposed import FAMILIES, text_of
from tests.serving.hostile import dripping, endless, listening, saying, silent
from tests.serving.processes import OWNER, lookalike, subject
from tests.waiting import wait_until

Rows = list[Traffic]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks for servers in every window, and soon asks one again that failed."""
    monkeypatch.setattr(scraping, "LOOK_S", 0.0)
    monkeypatch.setattr(asking, "PAUSE_S", 0.2)
    monkeypatch.setattr(asking, "PAUSE_MAX_S", 0.2)
    monkeypatch.setattr(asking, "PAUSE_STRANGER_S", 0.2)


@pytest.fixture
def over() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@contextmanager
def scraping_of(subjects: Sequence[Subject]) -> Iterator[tuple[Scraper, Callable[[int], Rows]]]:
    """A scraper of windows of a second, and what waits for so many rows of it."""
    scraper = Scraper(FAMILIES, SteadyClock(), 1)
    scraper.watch(subjects)
    scraper.start()
    rows: Rows = []

    def waited(count: int) -> Rows:
        def came() -> bool:
            rows.extend(scraper.take())
            return len(rows) >= count

        wait_until(came)
        return rows

    try:
        yield scraper, waited
    finally:
        scraper.stop()


def requests(rows: Rows) -> int:
    return sum(row.served.counts[Column.REQUESTS] for row in rows)


def test_server_when_it_serves_then_each_window_has_what_it_served() -> None:
    with lookalike() as (pid, port), scraping_of([subject(pid, str(port))]) as (scraper, waited):
        rows = waited(3)
        assert scraper.state.servers == 1
    first = rows[0]
    assert (first.owner, first.workload, first.server, first.server_kind, first.served_model) == (
        OWNER, "ranker", f"127.0.0.1:{port}", "vllm", engine.MODEL,
    )  # fmt: skip
    starts = [row.window.start for row in rows]
    assert starts == sorted(set(starts))
    for row in rows:
        served = row.served
        asked, rest = divmod(served.counts[Column.REQUESTS], engine.STEP)
        assert asked >= 1
        assert rest == 0
        total = asked * engine.STEP
        assert served.counts == {
            Column.REQUESTS: total,
            Column.ERRORS: asked,
            Column.PROMPT_TOKENS: total * engine.PROMPT_TOKENS,
            Column.GENERATED_TOKENS: total * engine.GENERATED_TOKENS,
        }
        assert served.gauges == {Column.RUNNING: 3, Column.WAITING: 1, Column.KV_CACHE: 50}
        latency, ttft = served.histograms[Column.LATENCY], served.histograms[Column.TTFT]
        assert latency.counts[latency.upto_us.index(1_000_000)] == latency.count == total
        assert latency.sum_ms == total * 1_000
        assert ttft.counts[ttft.upto_us.index(60_000)] == ttft.count == total
        assert 0 < row.observed_ms <= 1_000


def test_server_when_it_was_there_before_the_agent_then_what_it_served_before_is_not_booked() -> (
    None
):
    with (
        listening(saying(text_of("vllm"))) as server,
        scraping_of([subject(os.getpid(), str(server.port))]) as (_, waited),
    ):
        assert requests(waited(2)) == 0


def test_server_when_it_begins_under_the_agents_eyes_then_all_that_it_served_is_booked() -> None:
    with scraping_of([subject(os.getpid(), "1")]) as (scraper, waited):
        wait_until(lambda: scraper._servers._groups != frozenset())
        with listening(saying(text_of("vllm"))) as server:
            scraper.watch([subject(os.getpid(), str(server.port))])
            rows = waited(2)
    assert [row.served.counts[Column.REQUESTS] for row in rows[:2]] == [56, 0]
    assert rows[0].observed_ms > 500  # since it was not there yet
    assert rows[0].served.histograms[Column.LATENCY].count == 56


def test_server_when_it_is_restarted_at_its_port_then_it_counts_from_zero() -> None:
    """Also where it has served more by now than the one before it: the socket is another."""
    before, after = (
        text_of("vllm"),
        text_of("vllm").replace(b'"stop",model', b'"stop",more="",model'),
    )
    after = after.replace(b'"} 40.0\n', b'"} 90.0\n')
    with listening(saying(before)) as first, ExitStack() as second:
        port = first.port
        with scraping_of([subject(os.getpid(), str(port))]) as (_, waited):
            booked = requests(waited(1))
            first.end()
            bound = socket.create_server(("127.0.0.1", port))
            second.enter_context(listening(saying(after), made=bound))
            seen = len(waited(0))
            wait_until(lambda: requests(waited(seen)) > 0)
            rows = waited(seen + 2)
    assert booked == 0
    assert [n for row in rows if (n := row.served.counts[Column.REQUESTS])] == [106]


def test_server_when_it_hangs_then_the_others_are_read_in_time(over: threading.Event) -> None:
    with listening(silent(over)) as hung, lookalike() as (pid, port):
        subjects = [
            subject(os.getpid(), str(hung.port), "hung"),
            subject(pid, str(port), "good"),
        ]
        with scraping_of(subjects) as (scraper, waited):
            rows = waited(4)
            wait_until(lambda: scraper.state.failures["timeout"] > 0)
    assert {row.workload for row in rows} == {"good"}


def test_writer_when_every_server_hangs_then_it_never_waits(over: threading.Event) -> None:
    """And no more of them are asked at a time than there are threads."""
    with ExitStack() as stack:
        servers = [stack.enter_context(listening(silent(over))) for _ in range(2 * THREADS)]
        subjects = [subject(os.getpid(), str(one.port), str(one.port)) for one in servers]
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        monkeypatch.setattr(fetching, "SCRAPE_S", 600.0)
        scraper, _ = stack.enter_context(scraping_of(subjects))
        wait_until(lambda: sum(len(one.paths) for one in servers) == THREADS)
        looked = scraper._looked
        wait_until(lambda: scraper._looked > looked)  # rounds go on
        assert sum(len(one.paths) for one in servers) == THREADS
        assert scraper.take() == []
        over.set()


def test_server_when_it_fails_then_its_reason_is_counted_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    with (
        listening(saying(b"", status="503 Service Unavailable")) as server,
        scraping_of([subject(os.getpid(), str(server.port))]) as (scraper, waited),
    ):
        wait_until(lambda: scraper.state.failures["status"] > 2)
        server.answer = saying(text_of("vllm"))
        rows = waited(1)
        assert scraper.state.scrapes >= 4
    assert rows
    [told] = [record.message for record in caplog.records if "server_not_read" in record.message]
    assert "workload='ranker' reason='/metrics answers with status 503'" in told


def test_server_when_nobody_said_that_it_is_one_then_its_failure_is_no_news(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with listening(saying(b"hello\n")) as server:
        families = tuple(replace(one, ports=(server.port,)) for one in FAMILIES)
        scraper = Scraper(families, SteadyClock(), 1)
        scraper.watch([subject(os.getpid())])
        scraper.start()
        wait_until(lambda: scraper.state.failures["unknown"] > 1)
        scraper.stop()
        assert set(server.paths) == {"/metrics", "/prometheus/metrics", "/v1/metrics"}
    assert "server_not_read" not in caplog.text
    assert scraper.state.servers == 0


def test_server_when_another_path_is_the_right_one_then_it_alone_is_asked_from_then_on() -> None:
    def answer(connection: socket.socket) -> None:
        right = server.paths[-1] == "/v1/metrics"
        said = saying(text_of("nim")) if right else saying(b"", status="404 Not Found")
        said(connection)

    with listening(answer) as server:
        with scraping_of([subject(os.getpid(), str(server.port))]) as (_, waited):
            waited(2)
        first = server.paths.index("/v1/metrics")
        assert set(server.paths[first:]) == {"/v1/metrics"}


def test_servers_when_they_tell_more_than_can_be_remembered_then_the_last_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scraping, "MAX_SAMPLES", 150)
    with listening(saying(text_of("vllm"))) as one, listening(saying(text_of("vllm"))) as other:
        subjects = [subject(os.getpid(), str(s.port), str(s.port)) for s in (one, other)]
        with scraping_of(subjects) as (scraper, waited):
            rows = waited(2)
            wait_until(lambda: scraper.state.failures["too_many"] > 0)
    assert len({row.workload for row in rows}) == 1


def test_rows_when_nobody_takes_them_then_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scraping, "MAX_WAITING", 2)
    with lookalike() as (pid, port), scraping_of([subject(pid, str(port))]) as (scraper, _):
        wait_until(lambda: scraper.state.scrapes > 6)
        assert len(scraper.take()) <= 3


@pytest.mark.parametrize("hostile", ["endless", "dripping"])
def test_server_when_it_is_hostile_then_nothing_but_its_own_figures_is_lost(
    hostile: str, over: threading.Event
) -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    answer = endless(head, b"a 1\n" * 9_000) if hostile == "endless" else dripping(head, over)
    with listening(answer) as bad, lookalike() as (pid, port):
        subjects = [subject(os.getpid(), str(bad.port), "bad"), subject(pid, str(port), "good")]
        with scraping_of(subjects) as (scraper, waited):
            wait_until(lambda: sum(scraper.state.failures.values()) > 0)
            rows = waited(3)
    assert {row.workload for row in rows} == {"good"}
    assert set(scraper.state.failures) <= {"too_large", "timeout"}
