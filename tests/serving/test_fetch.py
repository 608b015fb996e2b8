"""What the agent asks a server, and what it takes for an answer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpuledger_agent.serving import fetch as fetching
from gpuledger_agent.serving.errors import REASONS, ScrapeError
from gpuledger_agent.serving.fetch import MAX_ANSWER_BYTES, Endpoint, fetch
from gpuledger_agent.serving.network import (
    Listener,
    is_local,
    listeners,
    namespace,
    own_namespace,
    socket_at,
    sockets_of,
    within,
)
from tests.serving.hostile import (
    Answer,
    Listening,
    dripping,
    endless,
    listening,
    saying,
    sending,
    silent,
)

PROC = Path("/proc")
TEXT = b"vllm:prompt_tokens_total 5\n"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def over() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def at(port: int, address: str = "127.0.0.1", path: str = "/metrics") -> Endpoint:
    return Endpoint(Listener(address, port, 0), os.getpid(), own_namespace(), path)


def refusal(answer: Answer) -> str:
    with listening(answer) as server, pytest.raises(ScrapeError) as caught:
        fetch(at(server.port), PROC)
    assert caught.value.reason in REASONS
    return caught.value.reason


def test_server_when_it_answers_then_body_and_type_are_taken() -> None:
    with listening(saying(TEXT, "Content-Type: text/plain; version=0.0.4\r\n")) as server:
        assert fetch(at(server.port, path="/v1/metrics?a=b"), PROC) == (
            TEXT,
            "text/plain; version=0.0.4",
        )
        assert server.paths == ["/v1/metrics?a=b"]


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"\r\n" + TEXT,
        b"HTTP/1.0 200 OK\r\n\r\n" + TEXT,
        OK + b"Transfer-Encoding: chunked\r\n\r\n1b\r\n" + TEXT + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"\r\n" + TEXT,
    ],
)
def test_server_when_it_tells_no_length_then_its_whole_answer_is_taken(raw: bytes) -> None:
    with listening(sending(raw)) as server:
        assert fetch(at(server.port), PROC)[0] == TEXT


def test_server_when_it_listens_on_ipv6_then_it_is_asked_there() -> None:
    with listening(saying(TEXT), "::1") as server:
        assert fetch(at(server.port, "::1"), PROC)[0] == TEXT
        assert str(at(server.port, "::1")) == f"[::1]:{server.port}"


REDIRECT = "Location: http://169.254.169.254/latest/meta-data\r\n"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (saying(b"", REDIRECT, "302 Found"), "status"),
        (saying(b"", REDIRECT, "308 Permanent Redirect"), "status"),
        (saying(b"no", status="404 Not Found"), "status"),
        (saying(b"", status="401 Unauthorized"), "status"),
        (saying(TEXT, "Content-Encoding: gzip\r\n"), "encoding"),
        (sending(OK + b"Content-Length: 100\r\n\r\n" + TEXT), "broken"),
        (sending(OK + b"\r\nvllm:prompt_tokens_total 5"), "broken"),
        (sending(OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\n" + TEXT), "no_http"),
        (sending(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + TEXT), "no_http"),
        (sending(b""), "broken"),
        (sending(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n" * 20), "no_http"),
        (sending(b"HTTP/1.1 two hundred\r\n\r\n"), "no_http"),
        (sending(OK + b"X: " + b"y" * 100_000), "no_http"),
        (endless(OK + b"Content-Length: 1000000000000000\r\n\r\n", b"a 1\n" * 9_000), "too_large"),
        (endless(OK + b"\r\n", b"a 1\n" * 9_000), "too_large"),
        (
            endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"4\r\na 1\n\r\n" * 9_000),
            "too_large",
        ),
        (endless(OK, b"X-Y: z\r\n"), "no_http"),
        (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000), "too_large"),
    ],
)
def test_server_when_it_answers_anything_else_then_it_is_left(
    answer: Answer, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "SCRAPE_S", 60.0)  # what ends it is the answer itself
    assert refusal(answer) == reason


@pytest.mark.parametrize(
    "make",
    [silent, lambda over: dripping(b"", over), lambda over: dripping(OK + b"\r\n", over)],
)
def test_server_when_it_hangs_or_drips_then_it_is_left_in_time(
    make: Callable[[threading.Event], Answer],
    over: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetching, "SCRAPE_S", 0.5)
    assert refusal(make(over)) == "timeout"


def test_server_when_its_answer_is_as_large_as_may_be_then_it_is_taken() -> None:
    body = b"a 1\n" * (MAX_ANSWER_BYTES // 4 - 100)
    with listening(saying(body)) as server:
        assert fetch(at(server.port), PROC)[0] == body
    assert refusal(saying(body + b"a 1\n" * 100)) == "too_large"


def test_port_when_nobody_listens_then_it_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ScrapeError) as caught:
        fetch(at(port), PROC)
    assert caught.value.reason == "refused"


def test_request_when_sent_then_it_asks_for_plain_text_that_is_not_compressed() -> None:
    asked: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        saying(TEXT)(connection)

    server = Recording(answer, asked)
    with server.socket:
        fetch(at(server.port), PROC)
    [request] = asked
    assert request.startswith(b"GET /metrics HTTP/1.1\r\n")
    assert b"\r\nAccept-Encoding: identity\r\n" in request
    assert b"\r\nAccept: text/plain;version=0.0.4" in request
    assert b"openmetrics" not in request
    assert b"\r\nConnection: close\r\n" in request


class Recording(Listening):
    """Keeps what it was asked."""

    def __init__(self, answer: Answer, asked: list[bytes]) -> None:
        self._asked = asked
        super().__init__(answer)

    def _one(self, connection: socket.socket) -> None:
        with connection:
            self._asked.append(connection.recv(65_536))
            self.answer(connection)


def test_listener_when_bound_to_an_address_that_is_not_ours_then_nobody_is_asked() -> None:
    """Any user may do that (IP_FREEBIND), and have /proc say that 203.0.113.5 is a local server."""
    ip_freebind = 15
    with socket.socket() as bound:
        bound.setsockopt(socket.IPPROTO_IP, ip_freebind, 1)
        bound.bind(("203.0.113.5", 0))
        bound.listen()
        inode = os.fstat(bound.fileno()).st_ino
        [found] = [one for one in listeners(os.getpid(), PROC) if one.inode == inode]
        assert found.address == "203.0.113.5"
        with pytest.raises(ScrapeError) as caught:
            fetch(Endpoint(found, os.getpid(), own_namespace(), "/metrics"), PROC)
    assert caught.value.reason == "foreign"


def test_address_when_it_is_of_this_host_then_it_is_told_from_others(apart: int) -> None:
    assert is_local("127.0.0.1")
    assert is_local("::1")
    assert not is_local("203.0.113.5")
    assert not is_local("2001:db8::5")
    inside = namespace(apart, PROC)
    assert within(apart, inside, PROC, lambda: is_local("192.0.2.7"))
    assert not within(apart, inside, PROC, lambda: is_local("192.0.2.8"))
    assert not is_local("192.0.2.7")


def test_server_when_it_is_in_a_namespace_of_its_own_then_it_is_asked_there(apart: int) -> None:
    """The same port here is another server, which is not asked."""
    port = 8000
    inside = namespace(apart, PROC)
    bound = within(apart, inside, PROC, lambda: socket.create_server(("192.0.2.7", port)))
    with listening(saying(TEXT), made=bound) as there:
        [found] = [one for one in listeners(apart, PROC) if one.port == port]
        endpoint = Endpoint(found, apart, inside, "/metrics")
        assert fetch(endpoint, PROC)[0] == TEXT
        assert there.paths == ["/metrics"]
        assert found not in listeners(os.getpid(), PROC)
        with pytest.raises(ScrapeError) as caught:
            fetch(Endpoint(found, os.getpid(), inside, "/metrics"), PROC)
        assert caught.value.reason == "gone"
    assert namespace(os.getpid(), PROC) == own_namespace() != inside


def test_namespace_when_its_process_is_gone_then_so_is_the_server() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    with pytest.raises(ScrapeError) as caught:
        fetch(Endpoint(Listener("127.0.0.1", 8000, 7), process.pid, 42, "/metrics"), PROC)
    assert caught.value.reason == "gone"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up a right that it has")
def test_namespace_when_it_may_not_be_entered_then_it_says_what_the_agent_needs(apart: int) -> None:
    """A child of ours without CAP_SYS_ADMIN asks."""
    asks = (
        "import sys; from pathlib import Path; from gpuledger_agent.serving import fetch, network\n"
        "pid = int(sys.argv[1]); inside = int(sys.argv[2])\n"
        "at = fetch.Endpoint(network.Listener('127.0.0.1', 1, 1), pid, inside, '/')\n"
        "try: fetch.fetch(at, Path('/proc'))\n"
        "except fetch.ScrapeError as error: print(error.reason, error)"
    )
    inside = str(namespace(apart, PROC))
    done = subprocess.run(
        ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin",
         sys.executable, "-c", asks, str(apart), inside],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("namespace is in a network namespace that"), done.stderr
    assert done.stdout.endswith("give it CAP_SYS_ADMIN\n")


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1.2.3", "127.1.2.3"),
        ("0.0.0.0", "127.0.0.1"),
        ("::1", "::1"),
        ("::", "::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
    ],
)
def test_listeners_when_bound_anywhere_then_it_is_known_where_to_reach_them(
    host: str, reached: str
) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as bound, socket.socket() as no_listener:
        no_listener.bind(("127.0.0.1", 0))
        bound.bind((host, 0))
        bound.listen()
        inode = os.fstat(bound.fileno()).st_ino
        found = listeners(os.getpid(), PROC)
        assert Listener(reached, bound.getsockname()[1], inode) in found
        assert os.fstat(no_listener.fileno()).st_ino not in {one.inode for one in found}
        links = dict(sockets_of(os.getpid(), PROC))
        assert links[inode] == f"/proc/{os.getpid()}/fd/{bound.fileno()}"
        assert socket_at(links[inode]) == inode
    assert socket_at(links[inode]) != inode


def test_namespace_when_asked_for_then_it_is_the_kernels() -> None:
    assert namespace(os.getpid(), PROC) == own_namespace()
    assert str(Path("/proc/self/ns/net").readlink()) == f"net:[{own_namespace()}]"
