"""What every kind of receiver can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gpuledger_collector.ledger.notify.composing import Message
from gpuledger_collector.ledger.notify.notice import Notice
from gpuledger_collector.ledger.notify.wording import Wording


class Channel(Protocol):
    """Where messages go. One file a kind; `kinds.py` lists them.

    `joins`: all that waits goes in one message. `renew_s`: how often `renew` tells what is open
    again; 0 for never.
    """

    @property
    def joins(self) -> bool: ...  # noqa: D102 - told above

    @property
    def renew_s(self) -> float: ...  # noqa: D102 - told above

    def check(self) -> None:
        """Raise SendError if a file that sending needs cannot be used. Sends nothing."""

    def send(self, message: Message, wording: Wording, now: float) -> None:
        """Return once the receiver has taken it. `now`: UTC epoch seconds. Raises SendError."""

    def renew(self, standing: Sequence[Notice], wording: Wording, now: float) -> None:
        """Tell what is open again. Raises SendError."""
