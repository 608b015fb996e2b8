"""E-mail by SMTP, plain text."""

from __future__ import annotations

import logging
import re
import smtplib
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import format_datetime
from pathlib import Path

from gpuledger_agent.config import is_loopback
from gpuledger_collector.ledger.notify import secret
from gpuledger_collector.ledger.notify.composing import Message
from gpuledger_collector.ledger.notify.dial import LIMIT_S, dialed
from gpuledger_collector.ledger.notify.fault import SendError
from gpuledger_collector.ledger.notify.notice import Notice
from gpuledger_collector.ledger.notify.post import tls_context
from gpuledger_collector.ledger.notify.table import Table
from gpuledger_collector.ledger.notify.wording import Wording, clean, commands, facts, short

log = logging.getLogger(__name__)

PORTS = {"starttls": 587, "tls": 465, "none": 25}

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")


@dataclass(frozen=True, slots=True)
class Mail:
    """Mailboxes behind one SMTP server. `tls` is starttls, tls or none."""

    host: str
    port: int
    tls: str
    sender: str
    to: tuple[str, ...]
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    limit_s: float = LIMIT_S
    joins: bool = False
    renew_s: float = 0.0

    def check(self) -> None:
        """Raise SendError if a file that sending needs cannot be used."""
        if self.password_file:
            secret.read(self.password_file)
        if self.tls != "none":
            tls_context(self.ca_file)

    def send(self, message: Message, wording: Wording, now: float) -> None:
        """Hand the mail to the server. Raises SendError."""
        written = write(message, wording, self.sender, self.to, now)
        password = secret.read(self.password_file) if self.password_file else ""
        tls = None if self.tls == "none" else tls_context(self.ca_file)
        with (
            dialed(self.host, self.port, tls if self.tls == "tls" else None, self.limit_s) as sock,
            _session(sock, self.host) as session,
        ):
            if tls and self.tls == "starttls":
                session.starttls(context=tls)
            if self.username:
                session.login(self.username, password)
            refused = session.send_message(written, self.sender, self.to)
        if refused:
            receiver = message.notices[0].receiver
            log.warning("event=notify_partly receiver=%s refused=%d of=%d mailboxes",
                        receiver, len(refused), len(self.to))  # fmt: skip

    def renew(self, standing: Sequence[Notice], wording: Wording, now: float) -> None:
        """Nothing: what was taken stays told."""


def build(table: Table) -> Mail:
    """From a receiver's table; notes what is wrong with it."""
    host = table.text("host", required=True)
    tls = table.choice("tls", "starttls", list(PORTS))
    port = table.whole("port", PORTS[tls], 1, 65_535)
    sender = table.text("from", required=True)
    to = table.texts("to", None)
    if not to:
        table.fault("to", "names nobody; write mailboxes")
    for key, mailbox in [("from", sender), *(("to", each) for each in to)]:
        if mailbox and not _ADDRESS.fullmatch(mailbox):
            table.fault(key, f"{clean(mailbox)!r} is no mailbox; write name@example.com")
    username, password_file = table.text("username"), table.optional_file("password_file")
    if bool(username) != bool(password_file):
        table.fault("password_file", "username and password_file belong together; write both")
    if username and tls == "none" and not is_loopback(host):
        table.fault("tls", "the password would be sent in clear; take starttls or tls")
    ca_file = table.optional_file("ca_file")
    return Mail(host, port, tls, sender, to, username, password_file, ca_file)


def write(
    message: Message, wording: Wording, sender: str, to: Sequence[str], now: float
) -> EmailMessage:
    """The mail. Its Message-ID is the same in every attempt, so that mailboxes can drop twins."""
    last = message.notices[-1]
    joined = message.joined
    title = wording.summary(message.notices) if joined else wording.title(last)
    mail = EmailMessage(policy=POLICY)
    mail["Message-ID"] = f"<{message.id}@{sender.rpartition('@')[2]}>"
    mail["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Subject"] = f"[gpuledger] {clean(title, 150)}"
    mail["Auto-Submitted"] = "auto-generated"
    lines = _listed(message, wording) if joined else _whole(last, wording)
    mail.set_content("\n".join(lines) + "\n")
    return mail


def _whole(notice: Notice, wording: Wording) -> list[str]:
    told = [f"{name}: {value}" for name, value in facts(notice).items()]
    todo = [f"{name}: {command}" for name, command in commands(notice).items()]
    text = [wording.title(notice), wording.what(notice), "", *told, "", wording.remedy(notice)]
    return [*text, *todo, wording.link_to(notice)]


def _listed(message: Message, wording: Wording) -> list[str]:
    lines = [wording.summary(message.notices), ""]
    for notice in message.notices:
        lines += [wording.title(notice), f"    {short(notice)}", f"    {commands(notice)['show']}"]
    return lines


class _Session(smtplib.SMTP):
    """smtplib over a connection that is bounded in time."""

    def __init__(self, sock: socket.socket, host: str) -> None:
        self._given = sock
        super().__init__(host, local_hostname=socket.gethostname())

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        del host, port, timeout
        return self._given


@contextmanager
def _session(sock: socket.socket, host: str) -> Iterator[_Session]:
    """A session after the server's greeting; what it refuses raises SendError."""
    place = f"smtp {host}"
    try:
        session = _Session(sock, host)
        try:
            yield session
            with suppress(OSError):
                session.quit()
        finally:
            session.close()
    except smtplib.SMTPServerDisconnected as error:
        raise ConnectionResetError from error
    except smtplib.SMTPRecipientsRefused as error:
        raise SendError("recipients", f"{place}: takes mail for none of them") from error
    except smtplib.SMTPNotSupportedError as error:
        raise SendError("tls", f"{place}: offers no STARTTLS, or no login that we know") from error
    except smtplib.SMTPResponseException as error:
        if error.smtp_code < 200:
            raise SendError("answer", f"{place}: speaks no SMTP") from None
        told = f"{place}: answers {error.smtp_code} to {_STEPS.get(type(error), 'a command')}"
        of_message = isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= 500
        raise SendError(f"smtp_{error.smtp_code}", told, of_message=of_message) from None
    except smtplib.SMTPException as error:
        raise SendError("answer", f"{place}: speaks no SMTP that we know") from error


_STEPS: dict[type[Exception], str] = {
    smtplib.SMTPAuthenticationError: "the login",
    smtplib.SMTPConnectError: "the connection",
    smtplib.SMTPDataError: "the mail",
    smtplib.SMTPHeloError: "the greeting",
    smtplib.SMTPSenderRefused: "the sender",
}
