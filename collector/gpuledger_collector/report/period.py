"""Which time a review is about: whole hours of UTC, and as many before to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gpuledger_collector import moments

_HOUR = timedelta(hours=1)
_UNITS = {"h": _HOUR, "d": timedelta(days=1), "w": timedelta(weeks=1)}
_EPOCH = datetime.fromtimestamp(0, UTC)


class PeriodError(ValueError):
    """No period can be made of what was given; says why in one line."""


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` to before `until`, both the start of an hour, UTC."""

    since: datetime
    until: datetime

    @property
    def before(self) -> datetime:
        """Start of the previous period, which is as long and ends at `since`."""
        return self.since - (self.until - self.since)

    @property
    def hours(self) -> int:
        """Length, hours."""
        return (self.until - self.since) // _HOUR

    @property
    def step_hours(self) -> int:
        """Length of the steps of a chart: at most 180 or so, whatever the period."""
        return next(step for step in (1, 6, 24, self.hours) if self.hours <= 180 * step)


def read_period(since: str, until: str | None, now: datetime) -> Period:
    """The period in the words of the command. Raises PeriodError.

    `since` is 7d, 12h or 2w before the end, a date (its first moment) or a moment. `until` is a
    date (its last moment) or a moment; the end of the present hour by default and at most.
    Without an offset they are UTC. Both are widened to whole hours.
    """
    present = _floor(now) + _HOUR
    end = present if until is None else min(_ceiling(_moment("--until", until, end=True)), present)
    length = _length(since)
    try:
        begin = _floor(end - length if length else _moment("--since", since))
        period = Period(begin, end)
        too_early = period.before < _EPOCH
    except OverflowError:
        too_early = True
    if too_early:
        raise PeriodError("--since: the period and the one before it reach back beyond 1970")
    if begin >= present:
        raise PeriodError(f"--since {since}: lies in the future; it is {moments.shown(now)}")
    if begin >= end:
        raise PeriodError(f"--since {since}: is not before --until {until}")
    return period


def _length(text: str) -> timedelta | None:
    number, unit = text[:-1], _UNITS.get(text[-1:])
    if unit is None or not (number.isascii() and number.isdigit() and len(number) <= 6):
        return None
    if not int(number):
        raise PeriodError(f"--since {text}: is no time at all; write 7d")
    return int(number) * unit


def _moment(option: str, text: str, *, end: bool = False) -> datetime:
    try:
        return moments.read(text, end=end)
    except (ValueError, OverflowError) as error:
        example = "2026-01-31 or 2026-01-31T08:00+01:00"
        example = example if end else f"7d, 12h, {example}"
        raise PeriodError(f"{option} {text!r}: is no time; write {example}") from error


def _floor(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _ceiling(moment: datetime) -> datetime:
    return moment if moment == _floor(moment) else _floor(moment) + _HOUR
