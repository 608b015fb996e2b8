"""HTTP receivers that misbehave, on real sockets: each is one fault that says what it is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from gpuledger_collector.ledger.notify.fault import SendError
from gpuledger_collector.ledger.notify.post import MAX_RETRY_AFTER_S, Address, parse, post
from tests.notify_receivers import Certificate, HttpReceiver, http_receiver

SECRET = "/services/T0/B0/s3cret"


def send(receiver: HttpReceiver, **more: float) -> None:
    post(parse(receiver.url + SECRET), b"{}", {}, **more)  # type: ignore[arg-type]


def fault(act: Callable[[], None]) -> SendError:
    """What went wrong; none of it shows a secret, causes included."""
    with pytest.raises(SendError) as caught:
        act()
    error: BaseException | None = caught.value
    while error is not None:
        assert "s3cret" not in f"{error!r} {error}"
        error = error.__cause__
    return caught.value


@contextmanager
def dripping(first: bytes, drip: bytes) -> Iterator[int]:
    """A server that takes one connection, says `first`, and then `drip` for ever; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.settimeout(0.02)
                try:
                    peer.sendall(first)
                    while True:
                        try:
                            if not peer.recv(65536):
                                return
                        except TimeoutError:
                            peer.sendall(drip)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


@pytest.mark.parametrize("status", [200, 201, 204])
def test_post_when_the_answer_is_2xx_then_it_is_taken(receiver: HttpReceiver, status: int) -> None:
    receiver.answer(status)
    send(receiver)
    [heard] = receiver.heard
    assert (heard.method, heard.path, heard.body) == ("POST", SECRET, b"{}")
    assert heard.headers["host"] == f"127.0.0.1:{receiver.port}"


@pytest.mark.parametrize(
    ("status", "of_message", "said"),
    [
        (400, True, "answers 400 Bad Request"),
        (403, False, "answers 403 Forbidden"),
        (413, True, "answers 413"),
        (422, True, "answers 422"),
        (429, False, "answers 429 Too Many Requests"),
        (500, False, "answers 500 Internal Server Error"),
        (599, False, "answers 599"),
    ],
)
def test_post_when_refused_then_the_status_is_told_and_whose_fault_it_is(
    receiver: HttpReceiver, status: int, of_message: bool, said: str
) -> None:
    receiver.answer(status, b"POST " + SECRET.encode())
    error = fault(lambda: send(receiver))
    assert (error.kind, error.of_message) == (f"status_{status}", of_message)
    assert error.reason.startswith(f"{receiver.url}: {said}")


def test_post_when_the_answer_is_a_single_word_then_it_is_told(receiver: HttpReceiver) -> None:
    receiver.answer(404, b"channel_not_found\n")
    assert fault(lambda: send(receiver)).reason.endswith("(channel_not_found)")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_post_when_redirected_then_nobody_follows(receiver: HttpReceiver, status: int) -> None:
    with http_receiver() as other:
        receiver.answer(status, Location=f"{other.url}/")
        error = fault(lambda: send(receiver))
        assert other.heard == []
    assert error.kind == f"status_{status}"
    assert "redirects are not followed" in error.reason


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"Retry_After": "17"}, 17),
        ({"Retry_After": "9" * 400}, MAX_RETRY_AFTER_S),
        ({"Retry_After": "-1"}, 0),
        ({"Retry_After": "soon"}, 0),
        ({"Retry_After": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0),
        ({"Retry_After": "Fri, 31 Dec 9999 23:59:59 GMT"}, MAX_RETRY_AFTER_S),
    ],
)
def test_post_when_asked_to_come_later_then_that_is_told(
    receiver: HttpReceiver, headers: dict[str, str], seconds: float
) -> None:
    receiver.answer(429, **headers)
    assert fault(lambda: send(receiver)).retry_after_s == seconds


@pytest.mark.parametrize(
    ("first", "drip", "kind"),
    [
        (b"", b"", "timeout"),
        (b"HTTP/1.1 2", b"0", "timeout"),
        (b"HTTP/1.1 500 No\r\nX-A: ", b"b", "status_500"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", b"", "answer"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 9999\r\n\r\n", b"x", "status_500"),
        (b"HTTP/1.1 500 No\r\n\r\n", b"x" * 65536, "status_500"),
    ],
)
def test_post_when_the_answer_never_ends_then_it_ends_in_time(
    first: bytes, drip: bytes, kind: str
) -> None:
    with dripping(first, drip) as port:
        error = fault(
            lambda: post(Address("http", "127.0.0.1", port, SECRET), b"{}", {}, limit_s=3)
        )
    assert error.kind == kind


def test_post_when_2xx_is_said_then_the_rest_of_the_answer_does_not_matter() -> None:
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x") as port:
        post(Address("http", "127.0.0.1", port, "/"), b"{}", {})


def test_post_when_the_receiver_hangs_up_then_the_connection_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def hang_up() -> None:
            peer, _ = listening.accept()
            peer.recv(65536)
            peer.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        error = fault(lambda: post(Address("http", "127.0.0.1", port, "/"), b"{}", {}))
        thread.join()
    assert error.kind == "connection"


def test_post_when_nobody_listens_then_it_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    error = fault(lambda: post(Address("http", "127.0.0.1", port, SECRET), b"{}", {}))
    assert (error.kind, error.reason) == ("connection", f"127.0.0.1:{port}: Connection refused")


def test_post_when_a_host_has_no_address_then_it_says_so() -> None:
    error = fault(lambda: post(Address("http", "nowhere.invalid", 80, SECRET), b"{}", {}))
    assert error.kind == "name"


def test_post_when_the_certificate_is_not_trusted_then_nothing_is_sent(
    certificate: Certificate,
) -> None:
    with http_receiver(certificate.server) as receiver:
        address = Address("https", "127.0.0.1", receiver.port, SECRET)
        assert fault(lambda: post(address, b"{}", {})).kind == "tls"
        assert receiver.heard == []
        post(address, b"{}", {}, ca_file=certificate.ca_file)
        assert [heard.path for heard in receiver.heard] == [SECRET]


@pytest.mark.parametrize(
    "url",
    [
        "", "file:///etc/passwd", "ftp://host/", "gopher://host/", "//host/", "http://",
        "http://user:pw@host/", "http://host:0/", "http://host:65536/", "http://host:x/",
        "http://[::1/", "http://host/ x", "http://host/\r\nX: y", "http://hóst/", "http://h/#f",
    ],
)  # fmt: skip
def test_parse_when_it_is_no_plain_url_of_http_then_it_is_refused_unseen(url: str) -> None:
    with pytest.raises(ValueError, match=r"holds|begins|names") as caught:
        parse(url)
    assert not url or url not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "address", "authority"),
    [
        ("https://h/a?b=c", Address("https", "h", 443, "/a?b=c"), "h"),
        ("http://h", Address("http", "h", 80, "/"), "h"),
        ("http://[::1]:8080/x", Address("http", "::1", 8080, "/x"), "[::1]:8080"),
    ],
)
def test_parse_when_a_url_is_right_then_its_parts_are_known(
    url: str, address: Address, authority: str
) -> None:
    read = parse(url)
    assert (read.scheme, read.host, read.port, read.path, read.authority) == (
        address.scheme, address.host, address.port, address.path, authority,
    )  # fmt: skip
    assert "?" not in repr(read)
