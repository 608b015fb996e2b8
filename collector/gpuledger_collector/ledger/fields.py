"""Fields of a declaration: from text to values, every problem noted with its line."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from gpuledger_agent.attribution.labels import shows
from gpuledger_collector.ledger.declared import Entry, Problems
from gpuledger_collector.ledger.kinds import NUMBER, Choice, Kind, Label, Moment, Number

_NUMBER = re.compile(NUMBER)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_FORMULA = ("=", "+", "-", "@")
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)

K = TypeVar("K", bound=Kind)


class Fields:
    """Reads the fields of one entry; notes what is wrong and goes on with a stand-in.

    `seen`: line of every key of the file so far, see `unique`.
    """

    def __init__(
        self,
        entry: Entry,
        kinds: Mapping[str, Kind],
        problems: Problems,
        seen: dict[object, int],
    ) -> None:
        self._entry = entry
        self._kinds = kinds
        self._problems = problems
        self._seen = seen
        for name, text in entry.fields.items():
            if name not in kinds:
                near = difflib.get_close_matches(name, kinds, n=1)
                remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(kinds)}"
                problems.add(text.line, f"{name}: is not a field; {remedy}")

    def note(self, name: str, what: str) -> None:
        """Note a problem of the field, or of the entry if the field is absent."""
        self._problems.add(self._line(name), f"{name}: {what}")

    def unique(self, name: str, key: object, title: str, remedy: str) -> None:
        """Note it if an entry before has the same key."""
        if key in self._seen:
            self.note(name, f"{title} stands on line {self._seen[key]} already; {remedy}")
        self._seen.setdefault(key, self._line(name))

    def label(self, name: str) -> str:
        """Text in Unicode normal form C, "" if absent."""
        kind = self._kind(name, Label)
        raw = self._value(name, kind)
        if raw is None:
            return ""
        value = unicodedata.normalize("NFC", raw)
        problem = _label_problem(raw, kind) or _label_problem(value, kind)
        if problem:
            self.note(name, problem)
        return value

    def labels(self, *names: str) -> dict[str, str]:
        """Several labels by name."""
        return {name: self.label(name) for name in names}

    def number(self, name: str) -> Decimal | None:
        """A number; None if absent or wrong."""
        kind = self._kind(name, Number)
        value = self._value(name, kind)
        if value is None:
            return None
        number = Decimal(value) if _NUMBER.fullmatch(value) else None
        if number is None:
            self.note(name, f"{_short(value)} is not a number; write digits, such as 8 or 0.5")
        elif not kind.lowest <= number <= kind.highest:
            bounds = f"{kind.lowest:f} to {kind.highest:,f}"
            self.note(name, f"{_short(value)} is out of range; take {bounds}")
        elif number != round(number, kind.decimals):
            self.note(name, f"{_short(value)} has more than {kind.decimals} decimals; round it")
        else:
            return number
        return None

    def moment(self, name: str) -> datetime | None:
        """A moment in UTC; None if absent or wrong."""
        kind = self._kind(name, Moment)
        value = self._value(name, kind)
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
        return moment + timedelta(days=1) if kind.end and is_date else moment

    def choice(self, name: str) -> str:
        """One of the field's words, its default if absent."""
        kind = self._kind(name, Choice)
        value = self._value(name, kind)
        if value is not None and value not in kind.options:
            self.note(name, f"{_short(value)} is not known; take {' or '.join(kind.options)}")
        return kind.default if value is None else value

    def _kind(self, name: str, wanted: type[K]) -> K:
        kind = self._kinds[name]
        if not isinstance(kind, wanted):
            raise TypeError(f"{name} is a {type(kind).__name__}")
        return kind

    def _value(self, name: str, kind: Kind) -> str | None:
        text = self._entry.fields.get(name)
        if text is None and kind.required:
            self.note(name, f"is missing; add `{name}: ...`")
        return None if text is None else text.value

    def _line(self, name: str) -> int:
        text = self._entry.fields.get(name)
        return text.line if text else self._entry.line


def _label_problem(value: str, kind: Label) -> str:
    if value != value.strip():
        return "has space around it; leave that out"
    if len(value) > kind.longest:
        return f"is longer than {kind.longest} characters; shorten it"
    if not (value.isprintable() if kind.prose else shows(value)):
        return "holds characters that do not print; delete them"
    if value.startswith(_FORMULA):
        return f"starts with {value[0]}, a formula to spreadsheets; leave that out"
    if kind.taken and value.lower() == kind.taken:
        return f"{value} is what the books call nobody; take another name"
    return ""


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:37] + "...")
