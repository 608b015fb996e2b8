"""Which period the words of the command mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuledger_collector.report.period import PeriodError, read_period

NOW = datetime(2026, 3, 29, 10, 37, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "until", "begin", "end"),
    [
        ("7d", None, "2026-03-22T11:00", "2026-03-29T11:00"),
        ("1h", None, "2026-03-29T10:00", "2026-03-29T11:00"),
        ("2w", "2026-03-15", "2026-03-02T00:00", "2026-03-16T00:00"),
        ("2026-03-01", "2026-03-07", "2026-03-01T00:00", "2026-03-08T00:00"),
        ("2026-03-01T08:30", "2026-03-01T09:15", "2026-03-01T08:00", "2026-03-01T10:00"),
        ("2026-03-28T23:00+02:00", None, "2026-03-28T21:00", "2026-03-29T11:00"),
        # Clocks in Europe go forward in this night; a day of UTC has 24 hours all the same.
        ("1d", "2026-03-29T03:00", "2026-03-28T03:00", "2026-03-29T03:00"),
        ("1d", "2027-01-01", "2026-03-28T11:00", "2026-03-29T11:00"),
    ],
)
def test_period_when_said_in_words_then_it_is_whole_hours_of_utc(
    since: str, until: str | None, begin: str, end: str
) -> None:
    period = read_period(since, until, NOW)
    assert (period.since, period.until) == (at(begin), at(end))
    assert period.since - period.before == period.until - period.since


@pytest.mark.parametrize(
    ("since", "until", "complaint"),
    [
        ("2026-04-01", None, "lies in the future; it is 2026-03-29 10:37 UTC"),
        ("2026-03-20", "2026-03-01", "is not before --until 2026-03-01"),
        ("0d", None, "is no time at all"),
        ("tomorrow", None, "'tomorrow': is no time; write 7d, 12h, 2026-01-31"),
        ("7d", "7d", "--until '7d': is no time; write 2026-01-31 or"),
        ("999999d", None, "beyond 1970"),
        ("999999w", None, "beyond 1970"),
        ("1900-01-01", None, "beyond 1970"),
        ("0001-01-01T00:00+23:00", None, "is no time"),
        ("٣d", None, "is no time"),
        ("-7d", None, "is no time"),
        ("", None, "is no time"),
        ("7d", "9999-12-31", ""),
    ],
)
def test_period_when_it_cannot_be_then_one_line_says_why(
    since: str, until: str | None, complaint: str
) -> None:
    with pytest.raises(PeriodError) as refused:
        read_period(since, until, NOW)
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=30), st.none() | st.text(max_size=30))
def test_period_when_anything_is_said_then_it_is_a_period_or_refused(
    since: str, until: str | None
) -> None:
    try:
        period = read_period(since, until, NOW)
    except PeriodError:
        return
    assert period.before < period.since < period.until <= NOW + HOUR


@given(st.integers(1, 20_000), st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)))  # noqa: DTZ001
def test_period_when_so_many_hours_then_it_has_them_and_few_steps(
    hours: int, moment: datetime
) -> None:
    period = read_period(f"{hours}h", None, moment.replace(tzinfo=UTC))
    assert period.hours == hours
    assert 1 <= hours / period.step_hours <= 180
