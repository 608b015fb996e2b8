"""Certificates that end are told of in time: to Prometheus, in the log, and again when replaced."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gpuledger_agent.config import AgentConfig
from gpuledger_agent.daemon import Daemon
from gpuledger_agent.devices.nvml import NvmlLayer
from gpuledger_agent.dial import Trust
from gpuledger_agent.expiry import ExpiryWatch, remaining
from gpuledger_agent.metrics import DaemonCollector
from gpuledger_agent.pem import Dated, PemFiles
from gpuledger_agent.validity import DAY_S, Validity
from gpuledger_collector import authority, chores
from gpuledger_collector.listening import Tls
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.store.client import StoreConfig
from tests.collector_fixture import settings_for
from tests.nvml_standin.world import Standin
from tests.scripted_collector import ScriptedCollector
from tests.tls_fixture import COLLECTOR, Certificates, ending_in, replaced, server_credentials
from tests.waiting import wait_until

EXPIRY = "certificate_expiry_timestamp_seconds"
RENEWAL = "certificate_renewal_timestamp_seconds"
YEAR = Validity(0, 365 * DAY_S)


class Ours:
    """A CA of `gpuledger ca`, and what it issues for one host."""

    def __init__(self, folder: Path) -> None:
        self._ca, self._out = folder / "ca", folder / "out"
        self.until = authority.init(self._ca, 3650).until.timestamp()

    def files(self, *names: str, days: int = 365, collector: bool = False) -> PemFiles:
        """Issue a certificate, in the place of the one before."""
        made = authority.issue(self._ca, names, self._out, days, collector=collector)
        return PemFiles(made.certificate, made.key, self._ca / "ca.pem")


@pytest.fixture
def ours(tmp_path: Path) -> Ours:
    return Ours(tmp_path)


def in_days(days: float) -> float:
    return (datetime.now(UTC) + timedelta(days=days)).timestamp()


class Log:
    """A watch whose clock is set by hand, and what it logged of one certificate."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self._now = 0.0
        self._watch = ExpiryWatch(lambda: self._now)

    def at(self, day: float, validity: Validity = YEAR) -> list[str]:
        """Levels of what it logs on this day."""
        self._caplog.clear()
        self._now = day * DAY_S
        self._watch.look([Dated("own", Path("host.pem"), validity)])
        # The daemons write levels in small letters.
        return [record.levelname.upper() for record in self._caplog.records]


@pytest.fixture
def watch(caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


def test_watch_when_a_certificate_nears_its_end_then_a_warning_a_day_and_then_an_error_a_day(
    watch: Log, caplog: pytest.LogCaptureFixture
) -> None:
    assert watch.at(350.9) == []
    assert watch.at(351.0) == ["WARNING"]
    assert (
        "event=certificate_expires role=own file=host.pem ends=1971-01-01T00:00Z left='14 days'"
        in caplog.text
    )
    assert [watch.at(351.0 + hour / 24) for hour in (1, 23)] == [[], []]
    assert [watch.at(day) for day in (352, 352.5, 364.5)] == [["WARNING"], [], ["WARNING"]]
    assert "left='12 hours'" in caplog.text
    assert watch.at(365) == ["ERROR"]
    assert "event=certificate_expired role=own file=host.pem" in caplog.text
    assert [watch.at(day) for day in (365.9, 366, 1000)] == [[], ["ERROR"], ["ERROR"]]


def test_watch_when_another_comes_then_it_is_silent_until_that_one_nears_its_end(
    watch: Log,
) -> None:
    assert watch.at(364) == ["WARNING"]
    assert watch.at(364.1, Validity(364 * DAY_S, 729 * DAY_S)) == []
    assert watch.at(364.2, Validity(0, 366 * DAY_S)) == ["WARNING"]
    assert watch.at(364.3) == ["WARNING"]


def test_watch_when_the_clock_is_years_off_and_set_right_then_it_says_what_is_so_each_time(
    watch: Log,
) -> None:
    assert watch.at(-20_000) == []
    assert watch.at(100_000) == ["ERROR"]
    assert watch.at(364) == ["WARNING"]
    assert watch.at(100) == []


def test_watch_when_dates_cannot_be_read_then_nothing_is_said_of_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ExpiryWatch().look([Dated("own", Path("host.pem"), None)])
    assert caplog.text == ""


@contextmanager
def agent(files: PemFiles, address: str) -> Iterator[CollectorRegistry]:
    """Metrics of an agent that runs."""
    config = AgentConfig(
        host="h1", sources=(), scrape=False, spool=None, window_s=1, tick_s=0.25,
        collectors=(address,), trust=Trust(files), metrics_listen="", health_listen="",
    )  # fmt: skip
    daemon, stop = Daemon(config, NvmlLayer()), threading.Event()
    registry = CollectorRegistry()
    registry.register(DaemonCollector(daemon))
    thread = threading.Thread(target=daemon.run, args=(stop,))
    thread.start()
    try:
        yield registry
    finally:
        stop.set()
        thread.join()


@pytest.mark.usefixtures("watchful")
def test_agent_when_its_certificate_is_replaced_then_it_tells_of_the_new_one(
    standin: Standin,
    ours: Ours,
    caplog: pytest.LogCaptureFixture,
) -> None:
    standin.raw.gpus = 1
    shown = server_credentials(ours.files("books", *COLLECTOR, collector=True))
    files = ours.files("h1", days=30)
    assert files.certificate
    with (
        ScriptedCollector(credentials=shown) as listening,
        agent(files, listening.address) as registry,
    ):

        def told(name: str, role: str) -> float:
            return registry.get_sample_value(f"gpuledger_agent_{name}", {"role": role}) or 0.0

        listening.session().welcome()
        assert told(EXPIRY, "own") == pytest.approx(in_days(30), abs=600)
        assert told(EXPIRY, "ca") == ours.until
        assert told(RENEWAL, "own") == pytest.approx(in_days(28.5), abs=3600)
        assert told(RENEWAL, "ca") == ours.until - 14 * DAY_S
        assert "event=certificate_" not in caplog.text
        replaced(files.certificate, b"nonsense")
        wait_until(lambda: "event=files_not_renewed" in caplog.text)
        assert told(EXPIRY, "own") == pytest.approx(in_days(30), abs=600)
        ours.files("h1", days=300)
        wait_until(lambda: told(EXPIRY, "own") > in_days(299))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (14 * DAY_S, "14 days"),
        (2 * DAY_S - 1, "47 hours"),
        (7_199, "119 minutes"),
        (59, "0 minutes"),
    ],
)
def test_time_that_is_left_when_it_is_short_then_it_is_not_told_as_none(
    seconds: float, said: str
) -> None:
    assert remaining(seconds) == said


def test_agent_when_its_certificate_has_ended_then_its_log_says_so_once(
    standin: Standin, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    standin.raw.gpus = 1
    files = certificates.files("agent", "h1", until=datetime.now(UTC) - timedelta(days=1))
    with agent(files, "127.0.0.1:1") as registry:
        wait_until(lambda: "event=certificate_expired role=own" in caplog.text)
        value = registry.get_sample_value(f"gpuledger_agent_{EXPIRY}", {"role": "own"})
        assert value == pytest.approx(in_days(-1), abs=600)
    assert caplog.text.count("event=certificate_") == 1


def test_agent_when_it_speaks_plaintext_then_it_tells_of_no_certificate(standin: Standin) -> None:
    standin.raw.gpus = 1
    config = AgentConfig(sources=(), scrape=False, spool=None, collectors=("127.0.0.1:1",))
    families = list(DaemonCollector(Daemon(config, NvmlLayer())).collect())
    [found] = [family for family in families if family.name == f"gpuledger_agent_{EXPIRY}"]
    assert found.samples == []


def test_collector_when_its_files_are_replaced_then_it_tells_of_the_new_ones_before_anybody_comes(
    database: StoreConfig,
    ours: Ours,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chores, "LOOK_S", 0.05)
    files = ours.files(*COLLECTOR, days=1, collector=True)
    assert files.certificate
    assert files.key
    assert files.ca
    tls = Tls(files.certificate, files.key, files.ca)
    settings = settings_for(database)
    with CollectorThread(replace(settings, tls=tls)) as collector:
        assert collector._collector is not None
        registry = collector._collector._metrics.registry

        def told(name: str, role: str) -> float:
            return registry.get_sample_value(f"gpuledger_collector_{name}", {"role": role}) or 0.0

        assert told(EXPIRY, "own") == pytest.approx(in_days(1), abs=600)
        assert told(RENEWAL, "own") == pytest.approx(in_days(0.95), abs=3600)
        assert told(EXPIRY, "ca") == ours.until
        assert "event=certificate_" not in caplog.text
        ours.files(*COLLECTOR, days=300, collector=True)
        assert told(EXPIRY, "own") == pytest.approx(in_days(300), abs=600)
        replaced(files.ca, ending_in(5))
        wait_until(lambda: "event=certificate_expires role=ca" in caplog.text)
    assert caplog.text.count("event=certificate_") == 1
