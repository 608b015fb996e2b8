"""A capacity review as plain data, before anybody renders it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gpuledger_collector.report.period import Period

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one query said. `sql` is the statement as it was run; units are in column names."""

    name: str
    title: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    sql: str

    def of(self, **keys: object) -> tuple[Row, ...]:
        """Rows with these values."""
        return tuple(r for r in self.rows if all(r[k] == value for k, value in keys.items()))

    def one(self, **keys: object) -> Row | None:
        """The first row with these values, None if there is none."""
        return next(iter(self.of(**keys)), None)


@dataclass(frozen=True, slots=True)
class Report:
    """All answers of one review. `team` is empty for the whole fleet; times are UTC."""

    made_at: datetime
    version: str
    period: Period
    team: str
    answers: Mapping[str, Answer]

    def books(self, level: str, period: str = "this") -> tuple[Row, ...]:
        """The ledger of a period by `level`: all, team, model or step; most waste first."""
        return self.answers["books"].of(level=level, period=period)

    def whole(self, period: str = "this") -> Row | None:
        """The ledger of a period in one row, None if it has nothing."""
        return next(iter(self.books("all", period)), None)

    @property
    def newest_telemetry(self) -> datetime | None:
        """End of the newest window in the books, None if there is none."""
        row = self.answers["horizon"].one()
        newest: datetime | None = row["newest_telemetry"] if row else None
        return newest if newest and newest.timestamp() > 0 else None
