"""TLS at a real collector: who gets in, for which host, and certificates replaced under load."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import trustme

from gpuledger_agent import dial, stream
from gpuledger_agent.dial import Dialer, Trust
from gpuledger_agent.pem import PemFiles
from gpuledger_agent.spool import Spool
from gpuledger_collector.identity import hosts
from gpuledger_collector.listening import Tls
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.store.client import StoreConfig, connect
from tests.collector_fixture import WireAgent, batch, metric, present_window, settings_for
from tests.tls_fixture import COLLECTOR, Certificates, dialer
from tests.uplink_fixture import uplink_to, waiting
from tests.waiting import wait_until

DENIED = grpc.StatusCode.PERMISSION_DENIED


@contextmanager
def serving(
    store: StoreConfig, files: PemFiles, *, mutual: bool = True, any_host: bool = False
) -> Iterator[CollectorThread]:
    assert files.certificate
    assert files.key
    tls = Tls(files.certificate, files.key, files.ca if mutual else None, any_host)
    with CollectorThread(replace(settings_for(store), tls=tls)) as running:
        yield running


@pytest.fixture
def mutual(database: StoreConfig, certificates: Certificates) -> Iterator[CollectorThread]:
    """A collector that wants agents' certificates."""
    with serving(database, certificates.files("collector", *COLLECTOR)) as running:
        yield running


def filed(collector: CollectorThread, speaks: Dialer, host: str = "h1") -> list[int]:
    """Acks of a batch that an agent of this host sends."""
    with WireAgent(collector.address, host, speaks) as agent:
        agent.send(batch())
        return agent.acks(1)


def refused(collector: CollectorThread, speaks: Dialer, host: str = "h1") -> grpc.Call:
    """How the collector's side ended a stream on which that agent sent a batch."""
    with pytest.raises(grpc.RpcError) as ended:
        filed(collector, speaks, host)
    assert isinstance(ended.value, grpc.Call)
    return ended.value


@pytest.mark.parametrize(
    "named",
    [
        {"names": ("h1",)},
        {"names": ("other", "h1", "192.0.2.7")},
        {"names": ("spiffe://books.internal/gpu/h1",)},
        {"names": ("192.0.2.7",), "cn": "h1"},
    ],
)
def test_host_when_the_certificate_names_it_then_it_may_file(
    mutual: CollectorThread, certificates: Certificates, named: dict[str, object]
) -> None:
    files = certificates.files("agent", *named["names"], cn=named.get("cn"))  # type: ignore[misc, arg-type]
    assert filed(mutual, dialer(files)) == [1]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"names": ("h2",)}, "h2"),
        ({"names": ("h2",), "cn": "h1"}, "h2"),
        ({"names": ("spiffe://books.internal/h1/h2",), "cn": "h1"}, "h2"),
        ({"names": ("spiffe://h1",), "cn": "h3"}, "h3"),
        ({"names": ("*.gpu", "h1.gpu")}, "*.gpu, h1.gpu"),
        ({"names": ("H1",)}, "h1"),
        ({"names": ("192.0.2.7",)}, "no host"),
    ],
)
def test_host_when_the_certificate_is_of_another_then_it_is_told_so_and_nothing_is_filed(
    mutual: CollectorThread,
    certificates: Certificates,
    database: StoreConfig,
    named: dict[str, object],
    said: str,
) -> None:
    files = certificates.files("agent", *named["names"], cn=named.get("cn"))  # type: ignore[misc, arg-type]
    host = "H1" if said == "h1" else "h1"
    ended = refused(mutual, dialer(files), host)
    assert ended.code() is DENIED
    assert ended.details() == (
        f"the agent speaks for host '{host}' with a certificate of {said}: give it that name"
        " (--host), or a certificate of its own"
    )
    assert metric(mutual, "agents_refused_total") == 1
    with connect(database) as client:
        assert client.query("SELECT count() FROM hosts").first_row == (0,)


def test_certificate_when_it_is_of_anybody_of_the_ca_then_it_may_speak_for_any_host_if_allowed(
    database: StoreConfig, certificates: Certificates
) -> None:
    shared = dialer(certificates.files("agent", "fleet"))
    files = certificates.files("collector", *COLLECTOR)
    with serving(database, files, any_host=True) as collector:
        assert filed(collector, shared) == [1]
        assert refused(collector, dialer(certificates.trusting("agent"))).code() is not DENIED
    with serving(database, files, mutual=False) as collector:
        assert filed(collector, dialer(certificates.trusting("agent"))) == [1]


def test_peer_without_a_certificate_when_asked_which_host_it_is_then_none() -> None:
    assert hosts({"transport_security_type": [b"ssl"]}) == frozenset()


@pytest.mark.parametrize("how", ["none", "of another ca", "plaintext"])
def test_agent_when_it_has_no_certificate_of_the_ca_then_it_is_not_heard(
    mutual: CollectorThread, certificates: Certificates, tmp_path: Path, how: str
) -> None:
    stranger = Certificates(tmp_path / "stranger").files("agent", "h1")
    speaks = {
        "none": dialer(certificates.trusting("agent")),
        "plaintext": Dialer(Trust()),
        "of another ca": dialer(replace(stranger, ca=certificates.trusting("a").ca)),
    }[how]
    assert refused(mutual, speaks).code() is grpc.StatusCode.UNAVAILABLE
    assert metric(mutual, "agents_refused_total") == 0


def test_collector_when_its_files_are_replaced_then_the_next_agent_meets_the_new_ones(
    mutual: CollectorThread, certificates: Certificates
) -> None:
    old = dialer(certificates.files("agent", "h1"))
    assert filed(mutual, old) == [1]
    certificates.ca = trustme.CA()
    certificates.files("collector", *COLLECTOR)
    assert refused(mutual, old).code() is grpc.StatusCode.UNAVAILABLE
    assert filed(mutual, dialer(certificates.files("new", "h1"))) == [1]


def test_collector_when_its_new_files_do_not_belong_together_then_it_goes_on_with_the_old(
    mutual: CollectorThread,
    certificates: Certificates,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    agent = dialer(certificates.files("agent", "h1"))
    key = tmp_path / "tls" / "collector.key"
    key.write_bytes(certificates.ca.issue_cert("x").private_key_pem.bytes())
    assert filed(mutual, agent) == [1]
    assert filed(mutual, agent) == [1]
    assert caplog.text.count("event=files_not_renewed what=tls") == 1
    assert "PRIVATE KEY" not in caplog.text


def test_certificates_when_renewed_on_both_sides_under_load_then_no_window_is_lost_or_sent_twice(
    mutual: CollectorThread,
    certificates: Certificates,
    database: StoreConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dial, "LOOK_S", 0.0)
    monkeypatch.setattr(stream, "BACKOFF_MIN_S", 0.01)
    rounds, each = 4, 50
    spool = Spool(tmp_path / "spool.sqlite")
    last = present_window() - 10 * rounds * each
    agent = dialer(certificates.files("agent", "h1"))
    with uplink_to(spool, mutual.address, dialer=agent) as uplink:
        for number in range(rounds):
            connects = uplink.counters.connects
            filler = threading.Thread(target=_append, args=(spool, last + 10 * number * each, each))
            filler.start()
            # Both trust either CA before the first certificate of the new one is shown.
            old, certificates.ca = certificates.ca, trustme.CA()
            for side in ("agent", "collector"):
                certificates.trusting(side, old, certificates.ca)
            certificates.files("agent", "h1", ca=(old, certificates.ca))
            certificates.files("collector", *COLLECTOR, ca=(old, certificates.ca))
            filler.join()
            wait_until(lambda before=connects: uplink.counters.connects > before)  # type: ignore[misc]
        wait_until(lambda: not waiting(spool))
        assert uplink.counters.batches_sent == rounds * each
        assert uplink.counters.rows_refused == 0
    spool.close()
    with connect(database) as client:
        stored = client.query("SELECT uniqExact(ts), count() FROM gpu_usage").first_row
    assert stored == (rounds * each, rounds * each)


def _append(spool: Spool, start: int, count: int) -> None:
    for number in range(count):
        spool.append([batch(start=start + 10 * number)], 0)
