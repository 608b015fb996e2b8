"""Fields of a declaration: from text to values, every problem noted with its line."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gpuledger_collector.ledger.declared import Entry, Problems

MAX_LABEL = 128
"""Characters of a label; what agents accept too."""

MAX_NOTE = 1000
"""Characters of free text."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_FORMULA = ("=", "+", "-", "@")
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)


class Fields:
    """Reads the fields of one entry; notes what is wrong and goes on with a stand-in."""

    def __init__(self, entry: Entry, known: Sequence[str], problems: Problems) -> None:
        self._entry = entry
        self._problems = problems
        for name, text in entry.fields.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                problems.add(text.line, f"{name}: is not a field; {remedy}")

    def note(self, name: str, what: str) -> None:
        """Note a problem of the field, or of the entry if the field is absent."""
        text = self._entry.fields.get(name)
        self._problems.add(text.line if text else self._entry.line, f"{name}: {what}")

    def label(self, name: str, *, required: bool = False, longest: int = MAX_LABEL) -> str:
        """Text in Unicode normal form C, "" if absent."""
        value = self._value(name, required=required)
        if value is None:
            return ""
        value = unicodedata.normalize("NFC", value)
        if value != value.strip():
            self.note(name, "has space around it; leave that out")
        elif len(value) > longest:
            self.note(name, f"is longer than {longest} characters; shorten it")
        elif not value.isprintable():
            self.note(name, "holds characters that do not print; delete them")
        elif value.startswith(_FORMULA):
            self.note(name, f"starts with {value[0]}, a formula to spreadsheets; leave that out")
        return value

    def number(
        self,
        name: str,
        lowest: Decimal,
        highest: Decimal,
        *,
        decimals: int = 3,
        required: bool = False,
    ) -> Decimal | None:
        """A number between these bounds, both included; None if absent."""
        value = self._value(name, required=required)
        if value is None:
            return None
        number = Decimal(value) if _NUMBER.fullmatch(value) else None
        if number is None:
            self.note(name, f"{_short(value)} is not a number; write digits, such as 8 or 0.5")
        elif not lowest <= number <= highest:
            self.note(name, f"{_short(value)} is out of range; take {lowest:f} to {highest:,f}")
        elif number != round(number, decimals):
            self.note(name, f"{_short(value)} has more than {decimals} decimals; round it")
        else:
            return number
        return None

    def moment(self, name: str, *, required: bool = False, end: bool = False) -> datetime | None:
        """A moment in UTC. A bare date is its first moment, or with `end` the first after it."""
        value = self._value(name, required=required)
        if value is None:
            return None
        is_date = _DATE.fullmatch(value)
        if not is_date and not _MOMENT.fullmatch(value):
            self.note(name, f"{_short(value)} is no date; write 2026-01-31 or 2026-01-31T08:00:00Z")
            return None
        try:
            moment = datetime.fromisoformat(value)
            moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        except (ValueError, OverflowError):
            self.note(name, f"{_short(value)} is not in the calendar; correct it")
            return None
        if not _EARLIEST <= moment < _LATEST:
            self.note(name, f"{_short(value)} is out of range; take a year from 2000 to 2099")
            return None
        return moment + timedelta(days=1) if end and is_date else moment

    def choice(self, name: str, options: Sequence[str], default: str) -> str:
        """One of these words."""
        value = self._value(name, required=False)
        if value is not None and value not in options:
            self.note(name, f"{_short(value)} is not known; take {' or '.join(options)}")
        return default if value is None else value

    def _value(self, name: str, *, required: bool) -> str | None:
        text = self._entry.fields.get(name)
        if text is None and required:
            self.note(name, f"is missing; add `{name}: ...`")
        return None if text is None else text.value


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:37] + "...")
