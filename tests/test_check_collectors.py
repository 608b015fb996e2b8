"""Whether a collector lets an agent in, asked from elsewhere: every fault is really made, and told.

`gpuledger-agent check` and `gpuledger doctor --collector` ask by the same code.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from gpuledger_agent import check_collectors
from gpuledger_agent.check_collectors import collectors
from gpuledger_agent.check_result import Check, Verdict
from gpuledger_agent.dial import Trust
from gpuledger_agent.pem import PemFiles
from gpuledger_collector.cli import cli
from gpuledger_collector.listening import Tls
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.store.client import StoreConfig
from tests.collector_fixture import settings_for
from tests.scripted_collector import ScriptedCollector
from tests.tls_fixture import COLLECTOR, Certificates, ending_in, replaced, server_credentials
from tests.waiting import wait_until

AGENT = str(Path(sys.executable).parent / "gpuledger-agent")
OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL


def asked(trust: Trust, address: str) -> dict[str, Check]:
    """What was found, by subject; of the address's own, "collector" and "shown"."""
    found = {check.subject: check for check in collectors(trust, [address])}
    names = {f"collector {address}": "collector", f"certificate of {address}": "shown"}
    return {names.get(subject, subject): check for subject, check in found.items()}


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days, minutes=10)


def test_collector_when_it_lets_the_agent_in_then_all_is_ok_and_dates_are_told(
    database: StoreConfig, certificates: Certificates
) -> None:
    files = certificates.files("collector", *COLLECTOR, until=in_days(100))
    assert files.certificate
    assert files.key
    ours = certificates.files("agent", "h1", until=in_days(200))
    tls = Tls(files.certificate, files.key, files.ca)
    with CollectorThread(replace(settings_for(database), tls=tls)) as collector:
        wait_until(
            lambda: (
                asked(Trust(ours), collector.address)["collector"].text == "reachable and serving"
            )
        )
        found = asked(Trust(ours), collector.address)
    assert list(found) == ["certificate", "CA", "collector", "shown"]
    assert {check.verdict for check in found.values()} == {OK}
    assert {check.remedy for check in found.values()} == {""}
    assert found["certificate"].text.startswith(f"{ours.certificate}: until ")
    assert found["certificate"].text.endswith(", 200 days left")
    assert found["shown"].text.startswith("localhost, 127.0.0.1; signed by trustme v")
    assert found["shown"].text.endswith(", 100 days left")


@pytest.mark.parametrize(
    ("address", "said", "remedy"),
    [
        ("no-such-host.invalid:7670", "not found", "does this host's DNS know it?"),
        ("127.0.0.1:1", "Connection refused", "start it (gpuledger serve)"),
    ],
)
def test_collector_when_it_cannot_be_reached_then_it_is_said_where_the_way_ends(
    address: str, said: str, remedy: str
) -> None:
    found = asked(Trust(), address)
    assert list(found) == ["collector"]
    assert found["collector"].verdict is FAIL
    assert said in found["collector"].text
    assert remedy in found["collector"].remedy


def test_port_when_nobody_answers_at_it_then_it_is_said_after_a_while(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_collectors, "REACH_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        found = asked(Trust(certificates.files("agent", "h1")), address)
    assert found["collector"].verdict is FAIL
    assert found["collector"].remedy == "is TCP let through to it, and does it answer there?"
    assert "shown" not in found


def test_collector_when_its_certificate_names_another_then_the_names_are_told(
    mutual: ScriptedCollector, certificates: Certificates
) -> None:
    found = asked(Trust(certificates.files("agent", "h1"), "books.internal"), mutual.address)
    assert "Hostname Verification Check failed" in found["collector"].text
    assert found["collector"].remedy.endswith("or give --tls-server-name")
    assert found["shown"].text.startswith("localhost, 127.0.0.1; signed by")


def test_collector_when_its_certificate_is_of_another_ca_then_its_signer_is_told(
    mutual: ScriptedCollector, certificates: Certificates
) -> None:
    files = certificates.files("agent", "h1")
    certificates.trusting("agent", trustme.CA())
    found = asked(Trust(files), mutual.address)
    assert "unable to get local issuer certificate" in found["collector"].text
    assert found["collector"].remedy == "--tls-ca is not the CA that signed its certificate"
    assert "signed by trustme v" in found["shown"].text


@pytest.mark.parametrize(
    ("days", "verdict", "said"),
    [(-1, FAIL, "ended 20"), (5, WARN, "5 days left"), (1, WARN, "24 hours left")],
)
def test_collector_when_its_certificate_nears_its_end_then_it_is_told_of_that(
    certificates: Certificates, days: float, verdict: Verdict, said: str
) -> None:
    ends = server_credentials(certificates.files("collector", *COLLECTOR, until=in_days(days)))
    with ScriptedCollector(credentials=ends) as listening:
        found = asked(Trust(certificates.files("agent", "h1")), listening.address)
    assert found["shown"].verdict is verdict
    assert said in found["shown"].text
    assert found["shown"].remedy.startswith("renew it there")
    assert ("certificate has expired" in found["collector"].text) is (verdict is FAIL)


def test_ours_when_they_near_their_end_then_each_has_its_remedy(
    mutual: ScriptedCollector, certificates: Certificates
) -> None:
    files = certificates.files("agent", "h1", until=in_days(-1))
    assert files.ca
    replaced(files.ca, ending_in(3))
    found = asked(Trust(files), mutual.address)
    assert (found["certificate"].verdict, found["CA"].verdict) == (FAIL, WARN)
    assert "gpuledger ca issue, or your own PKI" in found["certificate"].remedy
    assert "put another CA beside it" in found["CA"].remedy


def test_ours_when_they_do_not_count_yet_then_the_clock_is_suspected(
    mutual: ScriptedCollector, certificates: Certificates
) -> None:
    files = certificates.files("agent", "h1")
    assert files.ca
    replaced(files.ca, ending_in(400))
    found = asked(Trust(files), mutual.address)
    assert found["CA"].verdict is FAIL
    assert found["CA"].remedy == "is this host's clock right?"


@pytest.mark.parametrize("encrypted", [True, False])
def test_port_when_only_one_side_speaks_tls_then_it_is_said(
    certificates: Certificates, encrypted: bool
) -> None:
    files = certificates.files("both", *COLLECTOR)
    credentials = server_credentials(files) if encrypted else None
    with ScriptedCollector(credentials=credentials) as listening:
        found = asked(Trust(None if encrypted else files), listening.address)
    assert found["collector"].verdict is FAIL
    said = "one side speaks TLS" if encrypted else "it speaks no TLS there"
    assert found["collector"].remedy.startswith(said)
    assert "shown" not in found


def test_collector_when_it_wants_a_certificate_and_we_have_none_then_it_is_said(
    mutual: ScriptedCollector, certificates: Certificates
) -> None:
    found = asked(Trust(certificates.trusting("agent")), mutual.address)
    assert found["collector"].verdict is FAIL
    assert "or wants a certificate" in found["collector"].remedy
    assert found["shown"].verdict is OK


def test_files_when_they_are_missing_then_no_collector_is_asked(
    mutual: ScriptedCollector, certificates: Certificates
) -> None:
    files = certificates.files("agent", "h1")
    assert files.ca
    files.ca.unlink()
    found = asked(Trust(files), mutual.address)
    assert list(found) == ["credentials"]
    assert found["credentials"].verdict is FAIL


def flags(files: PemFiles) -> list[str]:
    return ["--tls-ca", f"{files.ca}", "--tls-cert", f"{files.certificate}",
            "--tls-key", f"{files.key}"]  # fmt: skip


def test_check_when_a_collector_is_named_then_what_it_shows_is_told(
    mutual: ScriptedCollector, certificates: Certificates
) -> None:
    command = [AGENT, "check", *flags(certificates.files("agent", "h1"))]
    done = subprocess.run(
        [*command, "--collector", mutual.address], capture_output=True, text=True, check=False
    )
    assert f"ok    certificate of {mutual.address}: localhost, 127.0.0.1; signed by" in done.stdout


def doctor(*arguments: str, file: Path | None = None) -> tuple[int, dict[str, str], str]:
    """Exit code, verdicts by subject, and what went to stderr. No ClickHouse is there."""
    config = ["--config", str(file)] if file else []
    command = [*config, "doctor", "--clickhouse-url", "http://127.0.0.1:1", "--format", "json"]
    done = CliRunner().invoke(cli, [*command, *arguments])
    rows = json.loads(done.stdout) if done.exit_code in {0, 1} else []
    return done.exit_code, {row["subject"]: row["verdict"] for row in rows}, done.output


def test_doctor_when_a_collector_is_named_then_it_is_looked_at_as_by_an_agent(
    mutual: ScriptedCollector, certificates: Certificates, tmp_path: Path
) -> None:
    files = certificates.files("agent", "h1")
    code, found, _ = doctor("--collector", mutual.address, *flags(files))
    expected = {
        "ClickHouse": "fail",
        "certificate": "ok",
        "CA": "ok",
        f"collector {mutual.address}": "fail",
        f"certificate of {mutual.address}": "ok",
    }
    assert (code, found) == (1, expected)
    file = tmp_path / "collector.toml"
    file.write_text(
        f'[doctor]\ncollector = "{mutual.address}"\ntls_ca = "{files.ca}"\n'
        f'tls_cert = "{files.certificate}"\ntls_key = "{files.key}"\n'
    )
    assert doctor(file=file)[1] == expected


def test_doctor_when_no_collector_is_named_then_what_else_is_said_of_tls_does_not_count(
    tmp_path: Path,
) -> None:
    file = tmp_path / "collector.toml"
    file.write_text('tls_cert = "books.pem"\ntls_key = "books.key"\ntoken_file = "tokens"\n')
    assert doctor(file=file)[:2] == (1, {"ClickHouse": "fail"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--collector", "books.internal"], "is no address: write HOST:PORT"),
        (["--collector", "books.internal:7670"], "plaintext to books.internal:7670 would show"),
        (["--collector", "127.0.0.1:1", "--tls-cert", "a"], "TLS needs --tls-ca"),
    ],
)
def test_doctor_when_an_agent_would_refuse_to_speak_so_then_it_does(
    arguments: list[str], said: str
) -> None:
    code, _, output = doctor(*arguments)
    assert code == 2
    assert said in output
