"""Tokens: which files hold them, who is let in by them, and that nobody reads them in a log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuledger_agent import bearer
from gpuledger_agent.check_collectors import collectors
from gpuledger_agent.check_result import Verdict
from gpuledger_agent.dial import Dialer, Trust
from gpuledger_agent.followed import FileRefused
from gpuledger_agent.spool import Spool
from gpuledger_collector import tokens
from gpuledger_collector.listening import ServeError, Tls
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.store.client import StoreConfig, connect
from tests.collector_fixture import WireAgent, batch, metric, settings_for
from tests.scripted_collector import ScriptedCollector
from tests.tls_fixture import COLLECTOR, Certificates, replaced
from tests.uplink_fixture import Start, waiting
from tests.waiting import wait_until

OLD, NEW, RACK, UNKNOWN = "old-0123456789abcdef", "new-0123456789abcdef", "r7-" + "7" * 32, "u" * 32
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
REMEDY = "give the agent a token of the collector's file (docs/security.md)"
ALPHABET = "abcXYZ019._~+/-"


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """What the collector knows."""
    path = tmp_path / "tokens"
    path.write_text(f"# of the fleet\n{OLD}\n\n{RACK} r7-* # only its own\n")
    return path


@pytest.fixture
def collector(database: StoreConfig, known: Path) -> Iterator[CollectorThread]:
    with CollectorThread(replace(settings_for(database), token_file=known)) as running:
        yield running


def holding(tmp_path: Path, token: str | None) -> Dialer:
    """An agent's dialer with this token."""
    if token is None:
        return Dialer(Trust())
    return Dialer(Trust(token=replaced(tmp_path / "token", f"{token}\n".encode())))


def filed(collector: CollectorThread, speaks: Dialer, host: str) -> list[int]:
    with WireAgent(collector.address, host, speaks) as agent:
        agent.send(batch())
        return agent.acks(1)


def refused(collector: CollectorThread, speaks: Dialer, host: str) -> tuple[object, str]:
    with pytest.raises(grpc.RpcError) as ended:
        filed(collector, speaks, host)
    assert isinstance(ended.value, grpc.Call)
    return ended.value.code(), ended.value.details()


@pytest.mark.parametrize(("token", "host"), [(OLD, "h1"), (OLD, "r7-1"), (RACK, "r7-1")])
def test_agent_when_its_token_is_known_and_for_its_host_then_it_may_file(
    collector: CollectorThread, tmp_path: Path, token: str, host: str
) -> None:
    assert filed(collector, holding(tmp_path, token), host) == [1]


@pytest.mark.parametrize(
    ("token", "code", "said"),
    [
        (None, UNAUTHENTICATED, "the agent's token is none that is known here"),
        (UNKNOWN, UNAUTHENTICATED, "the agent's token is none that is known here"),
        (OLD[:-1], UNAUTHENTICATED, "the agent's token is none that is known here"),
        (RACK, grpc.StatusCode.PERMISSION_DENIED, "the agent's token is not for host 'h1'"),
    ],
)
def test_agent_when_its_token_is_not_known_or_not_for_its_host_then_it_is_told_and_not_heard(
    collector: CollectorThread,
    database: StoreConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    token: str | None,
    code: grpc.StatusCode,
    said: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    told = refused(collector, holding(tmp_path, token), "h1")
    assert told == (
        code,
        f"{said}: give it one{' that is' if token == RACK else ''} (--token-file)",
    )
    assert metric(collector, "agents_refused_total") == 1
    with connect(database) as client:
        assert client.query("SELECT count() FROM hosts").first_row == (0,)
    for secret in (OLD, RACK, UNKNOWN):
        assert secret not in caplog.text + told[1]


@pytest.mark.parametrize(
    ("token", "verdict", "remedy"),
    [
        (OLD, Verdict.OK, ""),
        (None, Verdict.FAIL, REMEDY),
        (
            UNKNOWN,
            Verdict.FAIL,
            "give the agent a token of the collector's file (docs/security.md)",
        ),
    ],
)
def test_check_when_the_collector_would_not_hear_the_agent_then_it_says_so(
    collector: CollectorThread, tmp_path: Path, token: str | None, verdict: Verdict, remedy: str
) -> None:
    path = replaced(tmp_path / "token", token.encode()) if token else None
    asked = (Trust(token=path), [collector.address])
    wait_until(lambda: next(collectors(*asked)).text != "reachable, but not serving")
    found = next(collectors(*asked))
    assert (found.verdict, found.remedy) == (verdict, remedy)
    assert UNKNOWN not in found.text
    assert (metric(collector, "agents_refused_total") == 0) is (verdict is Verdict.OK)


def test_token_when_both_are_known_for_a_while_then_agents_change_to_the_new_one_one_by_one(
    collector: CollectorThread, known: Path, tmp_path: Path
) -> None:
    assert refused(collector, holding(tmp_path, NEW), "h1")[0] is UNAUTHENTICATED
    replaced(known, f"{OLD}\n{NEW}\n".encode())
    assert filed(collector, holding(tmp_path, OLD), "h1") == [1]
    assert filed(collector, holding(tmp_path, NEW), "h2") == [1]
    replaced(known, f"{NEW}\n".encode())
    assert refused(collector, holding(tmp_path, OLD), "h1")[0] is UNAUTHENTICATED
    replaced(known, b"too short\n")
    assert filed(collector, holding(tmp_path, NEW), "h2") == [1]


@pytest.mark.usefixtures("watchful")
def test_agent_when_its_token_is_replaced_then_it_shows_the_new_one_on_another_stream(
    scripted: ScriptedCollector, spool: Spool, start: Start, tmp_path: Path
) -> None:
    start(scripted.address, dialer=holding(tmp_path, OLD))
    session = scripted.session()
    session.welcome()
    assert session.metadata["authorization"] == f"Bearer {OLD}"
    holding(tmp_path, NEW)
    renewed = scripted.session()
    renewed.welcome()
    assert renewed.metadata["authorization"] == f"Bearer {NEW}"
    assert not waiting(spool)
    wait_until(session.gone.is_set)


def test_token_when_certificates_are_wanted_as_well_then_one_does_not_do_without_the_other(
    database: StoreConfig, certificates: Certificates, known: Path, tmp_path: Path
) -> None:
    files = certificates.files("collector", *COLLECTOR)
    assert files.certificate
    assert files.key
    settings = replace(
        settings_for(database),
        tls=Tls(files.certificate, files.key, files.ca),
        token_file=known,
    )
    token = replaced(tmp_path / "token", OLD.encode())
    agent = certificates.files("agent", "h1")
    with CollectorThread(settings) as collector:
        both = Dialer(Trust(agent, token=token))
        assert filed(collector, both, "h1") == [1]
        assert refused(collector, both, "h2")[0] is grpc.StatusCode.PERMISSION_DENIED
        assert refused(collector, Dialer(Trust(agent)), "h1")[0] is UNAUTHENTICATED
        bare = Dialer(Trust(certificates.trusting("agent"), token=token))
        assert refused(collector, bare, "h1")[0] is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", ": no token; write lines of TOKEN [HOSTS]"),
        (b"# only\n\n", ": no token; write lines of TOKEN [HOSTS]"),
        (b"short\n", ":1: write TOKEN [HOSTS], a token being 16 to 512 letters"),
        (OLD.encode() + b"\n" + NEW.encode() + b" a b\n", ":2: write TOKEN [HOSTS]"),
        (b"\xff\xfe", ": not UTF-8 text"),
    ],
)
def test_collector_when_its_file_holds_no_tokens_then_one_line_says_where_and_it_does_not_start(
    database: StoreConfig, tmp_path: Path, text: bytes, said: str
) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(text)
    with pytest.raises(ServeError) as error:
        CollectorThread(replace(settings_for(database), token_file=path)).start()
    assert f"--token-file {path}{said}" in str(error.value)
    assert "short" not in str(error.value)


@pytest.mark.parametrize("text", ["", "short", f"{OLD}\n{NEW}", f"{OLD} r7-*", "ä" * 20, "a" * 513])
def test_agent_when_its_file_is_not_one_token_then_refused_without_repeating_it(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(FileRefused) as error:
        holding(tmp_path, text)
    assert str(error.value) == f"{tmp_path / 'token'}: not one token of {bearer.KIND}"


@given(
    st.dictionaries(
        st.text(ALPHABET, min_size=16, max_size=40),
        st.sampled_from(["*", "r7-*", "h1"]),
        min_size=1,
    ),
    st.data(),
)
def test_token_when_any_are_known_then_it_is_itself_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, held: dict[str, str], data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-tokens"
    path.write_text("".join(f"{token} {hosts}\n" for token, hosts in held.items()))
    read = tokens.load(path)
    shown = data.draw(st.sampled_from(sorted(held)) | st.text(ALPHABET, max_size=40))
    assert [token.hosts for token in tokens.matching(read, shown)] == [
        hosts for token, hosts in held.items() if token == shown
    ]
    assert not any(token in repr(read) for token in held)
