"""The kinds of receivers: to add one, write its file and a line here."""

from __future__ import annotations

from collections.abc import Callable

from gpuledger_collector.ledger.notify import alertmanager, mail, slack, webhook
from gpuledger_collector.ledger.notify.channel import Channel
from gpuledger_collector.ledger.notify.table import Table

KINDS: dict[str, Callable[[Table], Channel]] = {
    "webhook": webhook.build,
    "slack": slack.build,
    "alertmanager": alertmanager.build,
    "email": mail.build,
}
"""What `type` may say -> how such a receiver is made."""
