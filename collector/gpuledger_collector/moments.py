"""Moments as people write and read them: UTC, unless an offset says otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def read(text: str, *, end: bool = False) -> datetime:
    """A date (2026-01-31) or a moment (2026-01-31T08:00+01:00), in UTC.

    A date is its first moment, with `end` its last. Raises ValueError, OverflowError.
    """
    moment = datetime.fromisoformat(text)
    if end and len(text) == len("2026-01-31"):
        moment += timedelta(days=1)
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)


def shown(moment: datetime) -> str:
    """To the minute; `moment` is in UTC."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
