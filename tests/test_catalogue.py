"""The catalogue of a source: fresh, bounded, and nobody's hindrance, whatever the source does."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from gpuledger_agent.attribution import catalogue as module
from gpuledger_agent.attribution import remembered
from gpuledger_agent.attribution.base import AbsentError, Kind, SourceError, Workload, WorkloadRef
from gpuledger_agent.attribution.catalogue import Catalogue
from tests.waiting import wait_until


class Scripted:
    """A source whose answers a test sets."""

    name = "scripted"

    def __init__(self, *running: Workload) -> None:
        self.running = list(running)
        self.ended: list[Workload] = []
        self.error: Exception | None = None
        self.there = True
        self.block = threading.Event()
        self.block.set()
        self.asked: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.closed = 0
        self.unreadable: set[str] = set()

    def present(self) -> bool:
        return self.there

    def workloads(self) -> Sequence[Workload]:
        with self._query("list"):
            return [replace(workload) for workload in self.running]

    def workload(self, ref: WorkloadRef) -> Workload | None:
        with self._query(ref.id):
            if ref.id in self.unreadable:
                raise SourceError("took longer than 2 seconds")
            known = (*self.running, *self.ended)
            return next((w for w in known if w.id == ref.id), None)

    def close(self) -> None:
        self.closed += 1

    @contextmanager
    def _query(self, what: str) -> Iterator[None]:
        self.asked.append(what)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.block.wait(20)
        self.in_flight -= 1
        if self.error is not None:
            raise self.error
        yield


def box(number: int = 1, *, devices: tuple[str, ...] = (), team: str = "search") -> Workload:
    return Workload(
        Kind.CONTAINER, f"{number:064x}", f"box-{number}", {"team": team}, devices=devices
    )


def ref(number: int = 1) -> WorkloadRef:
    return WorkloadRef(Kind.CONTAINER, f"{number:064x}")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refresh without waiting for it."""
    monkeypatch.setattr(module, "REFRESH_S", 0.02)
    monkeypatch.setattr(module, "BACKOFF_MAX_S", 0.05)


@contextmanager
def kept(
    source: Scripted, wall: Callable[[], float] = time.time, *, speaks_for_host: bool = True
) -> Iterator[Catalogue]:
    catalogue = Catalogue(
        "scripted",
        lambda: source if source.there else None,
        wall,
        speaks_for_host=lambda: speaks_for_host,
    )
    catalogue.start()
    try:
        catalogue.settle(time.monotonic() + 10)
        yield catalogue
    finally:
        source.block.set()
        catalogue.stop()
        catalogue._thread.join(10)  # it must not speak in the log of the next test


def test_workload_when_listed_then_found_without_asking() -> None:
    source = Scripted(box())
    with kept(source) as catalogue:
        assert catalogue.find(ref()) == box()
        assert catalogue.named(Kind.CONTAINER, "box-1") == box()
    assert source.asked == ["list"]


def test_workload_when_it_came_after_the_list_then_asked_for_by_id() -> None:
    source = Scripted()
    with kept(source) as catalogue:
        source.ended.append(box())
        assert catalogue.find(ref()) is None
        catalogue.settle(time.monotonic() + 10)
        assert catalogue.find(ref()) == box()


def test_workload_when_nobody_knows_it_then_asked_once() -> None:
    source = Scripted()
    with kept(source) as catalogue:
        for _ in range(50):
            assert catalogue.find(ref()) is None
            catalogue.settle(time.monotonic() + 10)
    assert source.asked.count(ref().id) == 1


@pytest.mark.usefixtures("quick")
def test_workload_when_its_labels_change_then_the_new_ones_are_found() -> None:
    source = Scripted(box(team="search"))
    with kept(source) as catalogue:
        before = catalogue.find(ref())
        wait_until(lambda: source.asked.count("list") > 3)
        assert catalogue.find(ref()) is before
        source.running = [box(team="ads")]
        wait_until(lambda: (found := catalogue.find(ref())) and found.labels["team"] == "ads")


@pytest.mark.usefixtures("quick")
def test_workload_when_it_ended_then_it_is_remembered_and_its_grant_has_an_end() -> None:
    source = Scripted(box(devices=("0",)))
    with kept(source) as catalogue:
        [granted] = catalogue.granted()
        assert granted.until == math.inf
        assert granted.since <= time.time()
        source.running = []
        wait_until(lambda: catalogue.granted()[0].until < math.inf)
        [ended] = catalogue.granted()
        assert granted.since == pytest.approx(ended.since, abs=0.1)
        assert ended.since <= ended.until <= time.time()
        assert catalogue.find(ref()) is not None


@pytest.mark.usefixtures("quick")
def test_workload_when_long_ended_then_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORGET_S", 0.05)
    source = Scripted(box(devices=("0",)))
    with kept(source) as catalogue:
        source.running = []
        wait_until(lambda: not catalogue.granted())


@pytest.mark.usefixtures("quick")
def test_source_when_it_fails_then_one_line_and_what_is_known_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Scripted(box(devices=("0",)))
    with caplog.at_level(logging.INFO), kept(source) as catalogue:
        source.error = SourceError("socket /run/x: connection refused")
        wait_until(lambda: catalogue.state.failures > 2)
        assert not catalogue.state.up
        assert catalogue.find(ref()) == box(devices=("0",))
        # Nobody waits for a source that is down.
        assert catalogue.find(ref(2)) is None
        catalogue.settle(time.monotonic() + 60)
        source.error = None
        wait_until(lambda: catalogue.state.up)
    lines = [r.getMessage() for r in caplog.records if r.name == module.__name__]
    assert len(lines) == 2
    assert "event=source_fails source=scripted reason='socket /run/x" in lines[0]
    assert "event=source_answers_again" in lines[1]


@pytest.mark.usefixtures("quick")
def test_grant_when_the_source_is_silent_for_long_then_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "STALE_S", 0.05)
    source = Scripted(box(devices=("0",)))
    with kept(source) as catalogue:
        source.error = SourceError("gone")
        wait_until(lambda: catalogue.granted()[0].until < math.inf)


@pytest.mark.usefixtures("quick")
def test_source_when_it_fails_then_asked_less_and_less_often_until_it_answers() -> None:
    source = Scripted(box())
    with kept(source) as catalogue:
        source.error = SourceError("gone")
        wait_until(lambda: catalogue._pause_s == module.BACKOFF_MAX_S)
        source.error = None
        wait_until(lambda: catalogue.state.up)
        assert catalogue._pause_s == module.REFRESH_S


def test_source_when_it_fails_then_it_is_not_asked_for_what_was_wanted_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REFRESH_S", 0.0)
    source = Scripted()
    with kept(source) as catalogue:
        source.block.clear()
        wait_until(lambda: source.in_flight > 0)
        monkeypatch.setattr(module, "BACKOFF_MAX_S", 3600.0)
        catalogue._pause_s = 3600.0
        catalogue.find(ref())
        source.error = SourceError("gone")
        source.block.set()
        catalogue.settle(time.monotonic() + 10)
        assert not catalogue.state.up
    assert ref().id not in source.asked


def test_workloads_when_thousands_are_wanted_then_no_more_than_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few_fit(monkeypatch)
    source = Scripted()
    with kept(source) as catalogue:
        source.block.clear()
        for number in range(100):
            catalogue.find(ref(number))
        assert len(catalogue._wanted) == 16


@pytest.mark.usefixtures("quick")
def test_source_when_it_has_a_bug_then_the_catalogue_goes_on() -> None:
    source = Scripted(box())
    with kept(source) as catalogue:
        source.error = KeyError("surprise")
        wait_until(lambda: catalogue.state.failures > 1)
        source.error = None
        wait_until(lambda: catalogue.state.up)


@pytest.mark.usefixtures("quick")
def test_source_when_it_appears_later_then_it_is_used_and_when_it_goes_it_is_let_go() -> None:
    source = Scripted(box())
    source.there = False
    with kept(source) as catalogue:
        assert not catalogue.state.present
        source.there = True
        wait_until(lambda: catalogue.find(ref()) == box())
        source.there = False
        wait_until(lambda: not catalogue.state.present and source.closed == 1)
        assert (catalogue.state.failures, catalogue.state.reason) == (0, "")


def test_source_when_another_answers_in_its_place_then_it_is_absent_and_left_alone_for_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Scripted(box())
    source.error = AbsentError("speaks no CRI")
    with caplog.at_level(logging.INFO), kept(source) as catalogue:
        state = catalogue.state
        assert (state.present, state.up, state.failures) == (False, False, 0)
        assert state.reason == "speaks no CRI"
        assert catalogue._due - time.monotonic() > module.ABSENT_S - 60
        assert catalogue.find(ref()) is None
        assert source.closed == 1
    assert source.asked == ["list"]
    [line] = [r.getMessage() for r in caplog.records if r.name == module.__name__]
    assert line.startswith("event=source_absent source=scripted reason='speaks no CRI'")


@pytest.mark.usefixtures("quick")
def test_source_when_it_takes_the_place_of_another_then_it_is_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "ABSENT_S", 0.02)
    source = Scripted(box())
    source.error = AbsentError("speaks no CRI")
    with caplog.at_level(logging.INFO), kept(source) as catalogue:
        wait_until(lambda: len(source.asked) > 3)
        source.error = None
        wait_until(lambda: catalogue.state.up)
        assert catalogue.state.present
        assert catalogue.state.reason == ""
    assert caplog.text.count("event=source_absent") == 1


def test_source_when_it_hangs_then_finding_and_settling_do_not() -> None:
    source = Scripted(box())
    with kept(source) as catalogue:
        source.block.clear()
        for number in range(2, 10):
            assert catalogue.find(ref(number)) is None
        catalogue.settle(time.monotonic() + 0.01)
        assert catalogue.find(ref()) == box()
        source.block.set()
        catalogue.settle(time.monotonic() + 10)
    assert source.most_in_flight == 1


def few_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in (module, remembered):
        monkeypatch.setattr(one, "MAX_WORKLOADS", 16)


@pytest.mark.usefixtures("quick")
def test_memory_when_workloads_come_and_go_then_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    few_fit(monkeypatch)
    source = Scripted()
    with kept(source) as catalogue:
        for generation in range(20):
            source.running = [box(100 * generation + n, devices=("0",)) for n in range(40)]
            seen = source.asked.count("list")
            wait_until(lambda seen=seen: source.asked.count("list") > seen + 1)
            assert len(catalogue.granted()) <= 32


@pytest.mark.usefixtures("quick")
def test_memory_when_ended_ones_are_looked_up_without_end_then_bounded_and_the_running_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few_fit(monkeypatch)
    source = Scripted(*(box(n, devices=("0",)) for n in range(16)))
    with kept(source) as catalogue:
        begun = catalogue.granted()[0].since
        source.ended = [box(100 + n, devices=("0",)) for n in range(100)]
        for one in source.ended:
            catalogue.find(WorkloadRef(Kind.CONTAINER, one.id))
            catalogue.settle(time.monotonic() + 10)
            assert len(catalogue.granted()) <= 32
            seen = source.asked.count("list")
            wait_until(lambda seen=seen: source.asked.count("list") > seen)
        running = [granted for granted in catalogue.granted() if granted.until == math.inf]
        assert len(running) == 16
        assert running[0].since == pytest.approx(begun, abs=0.01)


def test_workload_when_it_cannot_be_read_then_the_source_is_up_and_others_are_found(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Docker locks a container that hangs: it must not hide all others."""
    source = Scripted(box(devices=("0",)))
    source.ended = [box(2), box(3)]
    source.unreadable = {box(2).id}
    with kept(source) as catalogue:
        for _ in range(3):
            assert catalogue.find(ref(2)) is None
            catalogue.settle(time.monotonic() + 10)
        assert catalogue.find(ref(3)) is None
        catalogue.settle(time.monotonic() + 10)
        assert catalogue.find(ref(3)) == box(3)
        assert (catalogue.state.up, catalogue.state.failures) == (True, 1)
    assert source.asked.count(box(2).id) == 1
    [line] = [r.getMessage() for r in caplog.records if r.name == module.__name__]
    assert line.startswith("event=workload_unread source=scripted id=")


@pytest.mark.usefixtures("quick")
def test_list_when_many_are_to_be_looked_up_then_it_is_not_put_off() -> None:
    """Grants that are not confirmed in time are over, whoever asks for thousands of others."""
    source = Scripted(box())
    with kept(source) as catalogue:
        source.block.clear()
        catalogue.find(ref(1000))
        wait_until(lambda: source.in_flight > 0)
        for number in range(2, 60):
            catalogue.find(ref(number))
        passed = time.monotonic() + 2 * module.REFRESH_S
        wait_until(lambda: time.monotonic() > passed)
        asked = len(source.asked)
        source.block.set()
        wait_until(lambda: len(source.asked) >= asked + 40)
    assert "list" in source.asked[asked : asked + 2]


@pytest.mark.usefixtures("quick")
def test_source_when_a_query_never_ends_then_not_up_nobody_waits_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "STALE_S", 0.1)
    source = Scripted(box(devices=("0",)))
    with caplog.at_level(logging.INFO), kept(source) as catalogue:
        source.block.clear()
        catalogue.find(ref(2))
        wait_until(lambda: not catalogue.state.up)
        assert catalogue.state.reason == "has not answered for 0.1 seconds"
        assert catalogue.state.present
        for _ in range(3):
            catalogue.settle(time.monotonic() + 3600)
        assert catalogue.find(ref()) == box(devices=("0",))
        source.block.set()
        wait_until(lambda: catalogue.state.up)
        catalogue.settle(time.monotonic() + 10)
    lines = [r.getMessage() for r in caplog.records if r.name == module.__name__]
    assert lines == [
        "event=source_hangs source=scripted",
        "event=source_hangs_no_more source=scripted",
    ]


@pytest.mark.parametrize("step", [-3_600.0, 3_600.0])
def test_grant_when_the_clock_is_set_then_it_has_begun_by_the_new_time(step: float) -> None:
    """Set back, it would begin in an hour, and be nobody's until then."""
    offset = [0.0]
    source = Scripted(box(devices=("0",)))
    with kept(source, lambda: time.time() + offset[0]) as catalogue:
        offset[0] = step
        [granted] = catalogue.granted()
        assert granted.since == pytest.approx(time.time() + step, abs=60)
        assert granted.since <= time.time() + step


def test_source_when_it_does_not_speak_for_the_host_then_it_grants_and_names_nothing() -> None:
    with kept(Scripted(box(devices=("0",))), speaks_for_host=False) as catalogue:
        assert catalogue.find(ref()) == box(devices=("0",))
        assert catalogue.granted() == []
        assert catalogue.named(Kind.CONTAINER, "box-1") is None
