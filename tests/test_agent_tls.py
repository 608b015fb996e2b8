"""TLS between agent and collector, as the agent sees it: whom it believes, and what it shows."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from gpuledger_agent.pem import PemFiles
from gpuledger_agent.spool import Spool
from tests.scripted_collector import ScriptedCollector, Session
from tests.tls_fixture import COLLECTOR, Certificates, dialer, replaced, server_credentials
from tests.uplink_fixture import Start, fill, waiting
from tests.waiting import wait_until

AGENT = str(Path(sys.executable).parent / "gpuledger-agent")
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


def served(session: Session, spool: Spool) -> None:
    """Let the agent send one more window, and have its answer."""
    fill(spool, 1)
    session.ack(session.batch())
    wait_until(lambda: not waiting(spool))


def unreachable(caplog: pytest.LogCaptureFixture) -> str:
    """What the agent says of a collector that it cannot speak with."""
    wait_until(lambda: "event=collector_unreachable" in caplog.text)
    return caplog.text


def test_stream_when_each_has_a_certificate_of_the_ca_then_windows_go_and_the_agent_has_shown_its(
    mutual: ScriptedCollector, certificates: Certificates, spool: Spool, start: Start
) -> None:
    start(mutual.address, dialer=dialer(certificates.files("agent", "h1")))
    session = mutual.session()
    session.welcome()
    served(session, spool)
    assert session.peer == ["h1"]


def test_agent_when_the_collectors_certificate_is_of_another_ca_then_it_says_so_and_waits(
    mutual: ScriptedCollector,
    certificates: Certificates,
    spool: Spool,
    start: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    files = certificates.files("agent", "h1")
    certificates.trusting("agent", trustme.CA())
    fill(spool, 1)
    start(mutual.address, dialer=dialer(files))
    assert "CERTIFICATE_VERIFY_FAILED" in unreachable(caplog)
    certificates.trusting("agent")
    mutual.session().welcome()


def test_agent_when_the_collectors_certificate_has_expired_then_it_says_so(
    certificates: Certificates, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    expired = certificates.files("collector", *COLLECTOR, until=YESTERDAY)
    with ScriptedCollector(credentials=server_credentials(expired)) as listening:
        start(listening.address, dialer=dialer(certificates.files("agent", "h1")))
        assert "certificate has expired" in unreachable(caplog)


def test_agent_when_the_collectors_certificate_names_another_then_it_takes_a_name_to_go_on(
    certificates: Certificates, spool: Spool, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    other = server_credentials(certificates.files("collector", "books.internal"))
    files = certificates.files("agent", "h1")
    with ScriptedCollector(credentials=other) as listening:
        fill(spool, 1)
        start(listening.address, dialer=dialer(files))
        assert "Hostname Verification Check failed" in unreachable(caplog)
        start(listening.address, dialer=dialer(files, "books.internal"))
        listening.session().welcome()


def test_agent_when_it_has_no_certificate_then_only_a_collector_that_wants_none_hears_it(
    mutual: ScriptedCollector,
    certificates: Certificates,
    start: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    start(mutual.address, dialer=dialer(certificates.trusting("agent")))
    unreachable(caplog)
    lenient = server_credentials(certificates.files("collector", *COLLECTOR), mutual=False)
    with ScriptedCollector(credentials=lenient) as listening:
        start(listening.address, dialer=dialer(certificates.trusting("agent")))
        assert listening.session().hello().host == "h1"


def test_agent_when_its_certificate_has_expired_then_the_collector_does_not_hear_it(
    mutual: ScriptedCollector,
    certificates: Certificates,
    start: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    start(mutual.address, dialer=dialer(certificates.files("agent", "h1", until=YESTERDAY)))
    unreachable(caplog)
    certificates.files("agent", "h1")
    assert mutual.session().hello().host == "h1"


@pytest.mark.parametrize("encrypted", [True, False])
def test_agent_when_only_one_side_speaks_tls_then_nothing_is_said(
    certificates: Certificates, start: Start, caplog: pytest.LogCaptureFixture, encrypted: bool
) -> None:
    files = certificates.files("both", *COLLECTOR)
    credentials = server_credentials(files) if encrypted else None
    with ScriptedCollector(credentials=credentials) as listening:
        start(listening.address, dialer=None if encrypted else dialer(files))
        assert "UNAVAILABLE" in unreachable(caplog)


@pytest.mark.usefixtures("watchful")
def test_certificate_when_replaced_then_what_is_unanswered_is_waited_for_and_the_new_one_shown(
    mutual: ScriptedCollector,
    certificates: Certificates,
    spool: Spool,
    start: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    uplink = start(mutual.address, dialer=dialer(certificates.files("agent", "old")))
    session = mutual.session()
    session.welcome()
    fill(spool, 2)
    assert session.batches(2) == [1, 2]
    certificates.files("agent", "new")
    wait_until(lambda: "event=files_renewed what=tls" in caplog.text)
    fill(spool, 1)
    session.ack(1)
    wait_until(lambda: waiting(spool) == [2, 3])
    assert not session.gone.is_set()
    session.ack(2)
    renewed = mutual.session()
    renewed.welcome()
    assert renewed.peer == ["new"]
    assert renewed.batch() == 3
    assert session.heard.empty()
    assert uplink.counters.batches_sent == 3
    assert "unreachable" not in caplog.text


@pytest.mark.usefixtures("watchful")
def test_certificate_when_replaced_by_one_of_another_key_then_one_line_says_so_and_the_old_stays(
    mutual: ScriptedCollector,
    certificates: Certificates,
    spool: Spool,
    start: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    files = certificates.files("agent", "old")
    assert files.certificate
    assert files.key
    certificate, key = files.certificate.read_bytes(), files.key.read_bytes()
    uplink = start(mutual.address, dialer=dialer(files))
    session = mutual.session()
    session.welcome()
    made = certificates.ca.issue_cert("new")
    replaced(files.certificate, made.cert_chain_pems[0].bytes())
    wait_until(lambda: "event=files_not_renewed" in caplog.text)
    served(session, spool)
    replaced(files.key, b"nonsense")
    served(session, spool)
    replaced(files.key, key)
    served(session, spool)
    replaced(files.certificate, certificate)
    served(session, spool)
    assert uplink.counters.connects == 1
    assert caplog.text.count("event=files_") == 1
    assert "nonsense" not in caplog.text
    replaced(files.certificate, made.cert_chain_pems[0].bytes())
    replaced(files.key, made.private_key_pem.bytes())
    assert mutual.session().peer == ["new"]


def agent_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [AGENT, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def flags(files: PemFiles) -> list[str]:
    return ["--tls-ca", f"{files.ca}", "--tls-cert", f"{files.certificate}",
            "--tls-key", f"{files.key}"]  # fmt: skip


@pytest.mark.parametrize(
    ("lost", "text", "said"),
    [
        ("ca", None, "No such file or directory; name a file that can be read"),
        ("ca", b"", "no certificate or crl found; give PEM files that belong together"),
        ("key", None, "No such file or directory; name a file that can be read"),
        ("certificate", b"nonsense", "give PEM files that belong together"),
    ],
)
def test_agent_when_a_file_is_not_what_it_should_be_then_one_line_says_so_and_it_does_not_start(
    certificates: Certificates, tmp_path: Path, lost: str, text: bytes | None, said: str
) -> None:
    files = certificates.files("agent", "h1")
    path: Path = getattr(files, lost)
    path.unlink()
    if text is not None:
        path.write_bytes(text)
    done = agent_run("run", *flags(files), "--spool", str(tmp_path / "spool.sqlite"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(path) in done.stderr
    assert said in done.stderr
