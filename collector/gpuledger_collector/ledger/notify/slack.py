"""Slack's incoming webhooks, and what takes the same: Mattermost, Rocket.Chat and others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from gpuledger_collector.ledger.notify.composing import Message
from gpuledger_collector.ledger.notify.endpoint import Endpoint
from gpuledger_collector.ledger.notify.notice import Notice
from gpuledger_collector.ledger.notify.table import Table
from gpuledger_collector.ledger.notify.wording import (
    Wording,
    clean,
    commands,
    facts,
    headline,
    short,
)

LISTED = 20
"""Findings of a joint message that are listed; the rest is counted."""

MAX_TEXT = 12_000
"""Characters; Slack cuts at 40,000, others at 16,383."""


@dataclass(frozen=True, slots=True)
class Slack:
    """A channel of a chat. The URL is the secret."""

    endpoint: Endpoint
    joins: bool = False
    renew_s: float = 0.0

    def check(self) -> None:
        """Raise SendError if a file that sending needs cannot be used."""
        self.endpoint.check()

    def send(self, message: Message, wording: Wording, now: float) -> None:
        """POST the message. Raises SendError."""
        del now
        body = {"text": text(message, wording), "unfurl_links": False, "unfurl_media": False}
        self.endpoint.post(json.dumps(body).encode(), {})

    def renew(self, standing: Sequence[Notice], wording: Wording, now: float) -> None:
        """Nothing: what was taken stays told."""


def build(table: Table) -> Slack:
    """From a receiver's table; notes what is wrong with it."""
    return Slack(Endpoint.read(table, secret_url=True))


def text(message: Message, wording: Wording) -> str:
    """The message in mrkdwn."""
    if not message.joined:
        return "\n".join(_whole(message.notices[0], wording))[:MAX_TEXT]
    listed = [
        f"• {_headline(notice)} {_literal(short(notice))}" for notice in message.notices[:LISTED]
    ]
    more = len(message.notices) - len(listed)
    if more:
        listed.append(f"and {more} more: `gpuledger findings --all`")
    return "\n".join([f"*{_escaped(wording.summary(message.notices))}*", *listed])[:MAX_TEXT]


def _whole(notice: Notice, wording: Wording) -> list[str]:
    lines = [f"{wording.mark()}{_headline(notice)}", _escaped(wording.what(notice))]
    lines += [f"{name}: {_literal(value)}" for name, value in facts(notice).items()]
    lines.append(_escaped(wording.remedy(notice)))
    lines += [f"{name}: {_literal(command)}" for name, command in commands(notice).items()]
    if link := wording.link_to(notice):
        lines.append(f"<{_escaped(link)}|more>")
    return [line for line in lines if line]


def _headline(notice: Notice) -> str:
    return f"*{_escaped(headline(notice))}* {_literal(clean(notice.subject))}"


def _literal(said: str) -> str:
    """Strangers' text as code, in which nothing is a mention, a link or a format."""
    return f"`{_escaped(said.replace('`', chr(39)))}`" if said else ""


def _escaped(said: str) -> str:
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
