"""`gpuledger ca`: certificates that gRPC takes, for what they were made and nothing else."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509

from gpuledger_agent.pem import PemFiles
from gpuledger_agent.spool import Spool
from gpuledger_collector.authority import Issued, init
from gpuledger_collector.commands.ca import ca
from tests.scripted_collector import ScriptedCollector
from tests.tls_fixture import dialer, server_credentials
from tests.uplink_fixture import Start, fill, waiting
from tests.waiting import wait_until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A CA."""
    init(tmp_path / "ca", 3650)
    return tmp_path / "ca"


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(ca, arguments)
    return done.exit_code, done.output


def issued(folder: Path, *arguments: str) -> PemFiles:
    """What the command made of a certificate, with the CA."""
    out = folder.parent / "out"
    code, output = run("issue", str(folder), *arguments, "--out", str(out))
    assert code == 0, output
    return PemFiles(out / f"{arguments[0]}.pem", out / f"{arguments[0]}.key", folder / "ca.pem")


def mode(path: Path | None) -> int:
    assert path
    return stat.S_IMODE(path.stat().st_mode)


def test_ca_when_made_then_agents_and_collectors_speak_by_its_certificates(
    folder: Path, spool: Spool, start: Start
) -> None:
    collector = issued(folder, "books.internal", "127.0.0.1", "::1", "--collector")
    with ScriptedCollector(credentials=server_credentials(collector)) as listening:
        start(listening.address, dialer=dialer(issued(folder, "h1", "h1.gpu.internal")))
        session = listening.session()
        session.welcome()
        fill(spool, 1)
        session.ack(session.batch())
        wait_until(lambda: not waiting(spool))
    assert session.peer == ["h1", "h1.gpu.internal"]


@pytest.mark.parametrize("wrong", ["agent", "collector"])
def test_certificate_when_used_by_the_other_side_then_it_is_not_believed(
    folder: Path, start: Start, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    flag = ["--collector"] if wrong == "agent" else []
    collector = issued(folder, "127.0.0.1", *(["--collector"] if wrong == "agent" else []))
    with ScriptedCollector(credentials=server_credentials(collector)) as listening:
        start(listening.address, dialer=dialer(issued(folder, "h1", *flag)))
        wait_until(lambda: "event=collector_unreachable" in caplog.text)


def test_keys_when_made_then_they_are_for_their_owner_alone(folder: Path) -> None:
    files = issued(folder, "h1")
    assert [mode(path) for path in (folder, folder / "ca.key", files.key)] == [0o700, 0o600, 0o600]
    assert [mode(path) for path in (folder / "ca.pem", files.certificate)] == [0o644, 0o644]
    assert {path.name for path in files.key.parent.iterdir()} == {"h1.key", "h1.pem"}  # type: ignore[union-attr]


def test_certificate_when_issued_again_then_it_is_renewed_with_another_key(folder: Path) -> None:
    first = issued(folder, "h1")
    assert first.certificate
    assert first.key
    before = first.certificate.read_bytes(), first.key.read_bytes()
    assert issued(folder, "h1", "--days", "7") == first
    after = first.certificate.read_bytes(), first.key.read_bytes()
    assert before[0] != after[0]
    assert before[1] != after[1]
    made = x509.load_pem_x509_certificate(after[0])
    assert (made.not_valid_after_utc - made.not_valid_before_utc).days == 7


def test_ca_when_there_is_one_already_then_it_is_left_alone(folder: Path) -> None:
    before = (folder / "ca.key").read_bytes()
    code, output = run("init", str(folder))
    assert code == 2
    assert "exists: take another directory for another CA" in output
    assert (folder / "ca.key").read_bytes() == before


@pytest.mark.parametrize("name", ["", "../h1", "*.gpu", "a b", "-h", "h1/", "ü", "x" * 300])
def test_name_when_it_is_none_of_a_host_then_refused_and_nothing_is_written(
    folder: Path, name: str
) -> None:
    out = folder.parent / "none"
    code, output = run("issue", str(folder), "--out", str(out), "--", "h1", name)
    assert code == 2
    assert "is no name of a host: give a DNS name or an IP address" in output
    assert not out.exists()


def test_certificate_when_the_ca_ends_before_it_then_refused(tmp_path: Path) -> None:
    made: Issued = init(tmp_path / "ca", 30)
    code, output = run("issue", str(tmp_path / "ca"), "h1", "--out", str(tmp_path))
    assert code == 2
    assert f"ends {made.until:%Y-%m-%d}, before the certificate would" in output


def test_ca_when_missing_or_of_another_key_then_one_line_says_so(
    folder: Path, tmp_path: Path
) -> None:
    code, output = run("issue", str(tmp_path / "none"), "h1")
    assert code == 2
    assert "make a CA first (gpuledger ca init)" in output
    init(tmp_path / "other", 30)
    (tmp_path / "other" / "ca.key").replace(folder / "ca.key")
    assert "ca.key is not the key of ca.pem" in run("issue", str(folder), "h1")[1]
    (folder / "ca.key").write_text("nonsense")
    assert "is not as it was made" in run("issue", str(folder), "h1")[1]
