"""Why a server was not read."""

from __future__ import annotations

REASONS = (
    "broken", "encoding", "foreign", "gone", "malformed", "namespace", "no_http", "refused",
    "status", "timeout", "too_large", "too_many", "unknown", "unforeseen",
)  # fmt: skip
"""All there are."""


class ScrapeError(Exception):
    """A server that was not read; `reason` in a word, one of REASONS, for the metrics."""

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        super().__init__(text)
