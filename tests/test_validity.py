"""When certificates end: read as OpenSSL's own readers read it, and told in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from gpuledger_agent.validity import DAY_S, Validity, of_authorities, of_chain, of_der
from gpuledger_collector import authority
from tests.tls_fixture import ending_in, self_signed


def days_left(validity: Validity | None) -> int:
    assert validity is not None
    return round((validity.ends - datetime.now(UTC).timestamp()) / DAY_S)


@given(
    st.integers(-631_152_000, 250_000_000_000),
    st.integers(1, 86_400 * 20_000),
    st.text(min_size=1, max_size=16),
)
def test_dates_whatever_they_are_then_they_are_as_the_library_reads_them(
    begins_s: int, life_s: int, name: str
) -> None:
    begins = datetime.fromtimestamp(begins_s, UTC)
    certificate = self_signed(begins, begins + timedelta(seconds=life_s), name)
    read = of_der(certificate.public_bytes(Encoding.DER))
    assert read.begins == certificate.not_valid_before_utc.timestamp()
    assert read.ends == certificate.not_valid_after_utc.timestamp()


@given(st.binary())
def test_file_whatever_it_holds_then_it_has_dates_or_none(text: bytes) -> None:
    armoured = b"-----BEGIN CERTIFICATE-----" + text + b"-----END CERTIFICATE-----"
    assert of_chain(text) is None
    of_authorities(armoured)


def test_file_when_it_holds_several_then_a_chain_ends_with_the_first_cas_with_the_last() -> None:
    assert days_left(of_chain(ending_in(300, 20, 40))) == 20
    assert days_left(of_authorities(ending_in(20, -3, 300, 40))) == 300
    assert of_chain(b"") is None
    assert of_authorities(b"nonsense") is None


def test_cas_when_one_is_to_follow_then_they_count_already() -> None:
    now = datetime.now(UTC)
    present = self_signed(now - timedelta(days=300), now + timedelta(days=60), "old")
    to_come = self_signed(now + timedelta(days=1), now + timedelta(days=3650), "new")
    both = b"".join(one.public_bytes(Encoding.PEM) for one in (to_come, present))
    read = of_authorities(both)
    assert read is not None
    assert read.begins == present.not_valid_before_utc.timestamp()
    assert read.ends == to_come.not_valid_after_utc.timestamp()


def test_file_when_one_in_it_cannot_be_read_then_the_others_count() -> None:
    broken = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    assert days_left(of_chain(broken + ending_in(20))) == 20


def test_file_when_beginnings_never_end_then_each_is_looked_at_once_and_the_others_count() -> None:
    talk = b" -----BEGIN CERTIFICATE----- is how they begin\n"
    assert days_left(of_chain(talk + ending_in(20))) == 20
    # Read once for each of them, it would take ten minutes.
    assert of_chain(talk * 20_000) is None


def test_file_when_openssl_wrote_it_with_trust_settings_then_it_is_read_likewise() -> None:
    trusted = ending_in(20).replace(b"BEGIN CERT", b"BEGIN TRUSTED CERT")
    assert days_left(of_chain(trusted.replace(b"END CERT", b"END TRUSTED CERT"))) == 20


@pytest.mark.parametrize(
    ("life_days", "due_days"), [(3650, 14), (365, 14), (280, 14), (90, 4.5), (30, 1.5), (1, 0.05)]
)
def test_certificate_when_it_lives_shortly_then_another_is_due_in_its_last_twentieth(
    life_days: float, due_days: float
) -> None:
    validity = Validity(0, life_days * DAY_S)
    assert validity.ends - validity.due == pytest.approx(due_days * DAY_S)


@pytest.mark.parametrize("life_days", [1 / 24, 1, 3, 32, 90, 365])
def test_certificate_when_vaults_agent_renews_it_in_its_time_then_it_was_never_due(
    life_days: float,
) -> None:
    validity = Validity(0, life_days * DAY_S)
    latest = 0.9 + 0.03
    assert validity.begins + latest * (validity.ends - validity.begins) < validity.due


def test_certificates_when_trustme_or_we_made_them_then_they_are_read(tmp_path: Path) -> None:
    ca = trustme.CA()
    assert of_authorities(ca.cert_pem.bytes()) is not None
    assert of_chain(ca.issue_cert("h1").cert_chain_pems[0].bytes()) is not None
    authority.init(tmp_path, 3650)
    issued = authority.issue(tmp_path, ["h1"], tmp_path, 365, collector=False)
    read = of_chain(issued.certificate.read_bytes())
    assert read is not None
    assert read.ends == issued.until.timestamp()
