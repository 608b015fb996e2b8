"""Why a message did not reach its receiver. Nothing in it is secret: it is logged and stored."""

from __future__ import annotations


class SendError(Exception):
    """A message was not taken.

    `kind` is one word for log and metrics, `reason` what to say of it. `of_message`: the receiver
    objects to this message; another may do. `retry_after_s`: what the receiver asked for, or 0.
    """

    def __init__(
        self, kind: str, reason: str, *, of_message: bool = False, retry_after_s: float = 0.0
    ) -> None:
        self.kind = kind
        self.reason = reason
        self.of_message = of_message
        self.retry_after_s = retry_after_s
        super().__init__(f"{kind}: {reason}")
