"""Mail servers on real sockets: TLS or nothing, and each refusal is one fault that says what."""

from __future__ import annotations

import logging
import socket
import threading
from pathlib import Path

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword

from gpuledger_collector.ledger.notify.fault import SendError
from gpuledger_collector.ledger.notify.mail import Mail
from tests.notices import T0, WORDING, message
from tests.notify_receivers import Certificate, SmtpReceiver, smtp_receiver

NOW = T0.timestamp()
TO = ("ann@example.com", "bob@example.com")


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    return path


def mail(server: SmtpReceiver, tls: str = "none", **more: object) -> Mail:
    return Mail("127.0.0.1", server.port, tls, "books@example.com", TO, **more)  # type: ignore[arg-type]


def fault(sending: Mail) -> SendError:
    with pytest.raises(SendError) as caught:
        sending.send(message(), WORDING, NOW)
    assert "s3cret" not in str(caught.value)
    return caught.value


def login(accepted: bool) -> dict[str, object]:
    """Settings of a server that asks for a login and takes it, or not; see `seen`."""

    def authenticate(_: object, __: object, ___: object, ____: str, given: object) -> AuthResult:
        assert isinstance(given, LoginPassword)
        right = (given.login, given.password) == (b"books", b"s3cret")
        return AuthResult(success=accepted and right, handled=False)

    return {"authenticator": authenticate, "auth_required": True}


def test_mail_when_starttls_is_asked_for_then_login_and_mail_go_inside(
    certificate: Certificate, password: Path
) -> None:
    settings = {"tls_context": certificate.server, "require_starttls": True, **login(True)}
    with smtp_receiver(**settings) as server:
        mail(server, "starttls", username="books", password_file=password,
             ca_file=certificate.ca_file).send(message(), WORDING, NOW)  # fmt: skip
        assert [recipients for _, recipients, _ in server.mails] == [list(TO)]


def test_mail_when_tls_is_asked_for_then_it_comes_first(certificate: Certificate) -> None:
    with smtp_receiver(ssl_context=certificate.server) as server:
        mail(server, "tls", ca_file=certificate.ca_file).send(message(), WORDING, NOW)
        assert len(server.mails) == 1


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_mail_when_the_certificate_is_not_trusted_then_nothing_is_sent(
    certificate: Certificate, tls: str
) -> None:
    name = "tls_context" if tls == "starttls" else "ssl_context"
    with smtp_receiver(**{name: certificate.server}) as server:
        assert fault(mail(server, tls)).kind == "tls"
        assert server.mails == []


def test_mail_when_the_server_has_no_starttls_then_nothing_is_sent(
    smtp: SmtpReceiver, password: Path
) -> None:
    sending = mail(smtp, "starttls", username="books", password_file=password)
    assert fault(sending).kind == "tls"
    assert smtp.mails == []


def test_mail_when_the_login_is_refused_then_it_says_so(
    certificate: Certificate, password: Path
) -> None:
    with smtp_receiver(tls_context=certificate.server, **login(False)) as server:
        error = fault(mail(server, "starttls", username="books", password_file=password,
                           ca_file=certificate.ca_file))  # fmt: skip
    assert (error.kind, error.of_message) == ("smtp_535", False)
    assert error.reason == "smtp 127.0.0.1: answers 535 to the login"


@pytest.mark.parametrize(
    ("refusal", "of_message"), [("552 too large", True), ("451 try later", False)]
)
def test_mail_when_refused_then_the_code_is_told_and_whose_fault_it_is(
    smtp: SmtpReceiver, refusal: str, of_message: bool
) -> None:
    smtp.refusal = refusal
    error = fault(mail(smtp))
    assert (error.kind, error.of_message) == (f"smtp_{refusal[:3]}", of_message)


def test_mail_when_some_mailboxes_are_unknown_then_the_others_have_it_and_the_log_says_so(
    smtp: SmtpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    smtp.unknown = TO[:1]
    with caplog.at_level(logging.WARNING):
        mail(smtp).send(message(), WORDING, NOW)
    assert [recipients for _, recipients, _ in smtp.mails] == [[TO[1]]]
    assert "event=notify_partly receiver=chat refused=1 of=2 mailboxes" in caplog.messages


def test_mail_when_all_mailboxes_are_unknown_then_it_fails(smtp: SmtpReceiver) -> None:
    smtp.unknown = TO
    assert fault(mail(smtp)).kind == "recipients"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"", "timeout"),
        (b"220 ready\r\n", "timeout"),
        (b"220-and on\r\n", "timeout"),
        (b"HTTP/1.1 400\r\n", "answer"),
        (b"554 not you\r\n", "smtp_554"),
    ],
)
def test_mail_when_the_server_hangs_or_speaks_otherwise_then_it_ends_in_time(
    said: bytes, kind: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.sendall(said)
                while peer.recv(4096):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        port = listening.getsockname()[1]
        sending = Mail("127.0.0.1", port, "none", "b@example.com", TO, limit_s=1.0)
        found = fault(sending).kind
        thread.join()
    assert found == kind
