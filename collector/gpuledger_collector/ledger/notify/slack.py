"""Slack's incoming webhooks, and what takes the same: Mattermost, Rocket.Chat and others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

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

MAX_TEXT = 12_000
"""Characters; Slack cuts at 40,000, others at 16,383. What finds no room is counted."""


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
    if message.joined:
        return _listed(message.notices, wording)
    return _whole(message.notices[0], wording)


def _listed(notices: Sequence[Notice], wording: Wording) -> str:
    lines = [f"• {_headline(notice)} {_literal(short(notice))}" for notice in notices]
    summary = f"*{_escaped(wording.summary(notices))}*"
    kept = _fitting(lines, MAX_TEXT - len(summary))
    more = len(lines) - len(kept)
    rest = [f"and {more} more: `gpuledger findings --all`"] if more else []
    return "\n".join([summary, *kept, *rest])


def _whole(notice: Notice, wording: Wording) -> str:
    first = [f"{wording.mark()}{_headline(notice)}", _escaped(wording.what(notice))]
    evidence = [f"{name}: {_literal(value)}" for name, value in facts(notice).items()]
    last = [_escaped(wording.remedy(notice))]
    last += [f"{name}: {_literal(command)}" for name, command in commands(notice).items()]
    if link := wording.link_to(notice):
        last.append(f"<{_escaped(link)}|more>")
    kept = _fitting(evidence, MAX_TEXT - sum(map(len, first + last)))
    more = len(evidence) - len(kept)
    cut = [f"and {more} more: see below"] if more else []
    return "\n".join(line for line in [*first, *kept, *cut, *last] if line)


def _fitting(lines: Sequence[str], room: int) -> list[str]:
    """As many of the lines as fit, whole ones, so that no code span stays open."""
    ends = accumulate(len(line) + 1 for line in lines)
    return [line for line, end in zip(lines, ends, strict=True) if end <= room]


def _headline(notice: Notice) -> str:
    return f"*{_escaped(headline(notice))}* {_literal(clean(notice.subject))}"


def _literal(said: str) -> str:
    """Strangers' text as code, in which nothing is a mention, a link or a format."""
    return f"`{_escaped(said.replace('`', chr(39)))}`" if said else ""


def _escaped(said: str) -> str:
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
