"""Valid rows of many hosts into the columns of one insert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

from gpuledger_collector.tables import TABLES, U8, U16, U32, Table
from gpuledger_collector.validate import Read, Rows, Span, problems

TEXT = "LowCardinality(String)"

_BUCKETS = "Array(Tuple(UInt64, UInt64))"
_COUNTS = "Array(UInt64)"

_INTEGERS = {U8: "UInt8", U16: "UInt16", U32: "UInt32"}


@dataclass(frozen=True, slots=True)
class Source:
    """Who a stream speaks for, by its Hello: rows are filed under this, whatever they say."""

    cluster: str
    host: str
    host_pool: str


@dataclass(frozen=True, slots=True)
class Insert:
    """What clickhouse-connect needs: `columns[i]` holds all values of `names[i]`."""

    table: str
    names: list[str]
    types: list[str]
    columns: list[Sequence[Any]]

    @property
    def rows(self) -> int:
        """How many rows it inserts."""
        return len(self.columns[0])


@dataclass(frozen=True, slots=True)
class Refused:
    """Rows of one batch that cannot be, and what is wrong with the first of them."""

    rows: int
    reason: str


class Inserts:
    """The inserts of one write while they grow: one per table and UTC day.

    One insert into two days would not be atomic. Rows are copied out of their batches at once, so
    that no more of these is kept than the columns.
    """

    def __init__(self) -> None:
        self._tables: dict[tuple[str, int], _Columns] = {}
        self.count = 0
        """Rows so far."""

    def add(self, source: Source, read: Read, number: int) -> None:
        """Append the rows of a batch, which will be known by this number."""
        self.count += read.count
        for rows in read.rows:
            columns = self._tables.get((rows.table.name, read.day))
            if columns is None:
                columns = self._tables[rows.table.name, read.day] = _Columns(rows.table)
            columns.add(source, rows, number)

    def finished(self, span: Span) -> tuple[list[Insert], dict[int, Refused]]:
        """The inserts, without rows that cannot be; and of these what falls to which batch."""
        grown = [
            columns
            for table in TABLES
            for (name, _), columns in self._tables.items()
            if name == table.name
        ]
        refused: dict[int, Refused] = {}
        for columns in grown:
            for number, found in columns.sift(span).items():
                known = refused.get(number, Refused(0, found.reason))
                refused[number] = Refused(known.rows + found.rows, known.reason)
        return [columns.insert() for columns in grown if columns.count], refused


@dataclass(slots=True)
class _Piece:
    """Where the rows of one batch are among all."""

    number: int
    source: Source
    begin: int
    count: int


class _Columns:
    """All rows for one table and day."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._pieces: list[_Piece] = []
        self._values: dict[str, list[Any]] = {name: [] for name in table.columns}
        self.count = 0

    def add(self, source: Source, rows: Rows, number: int) -> None:
        self._pieces.append(_Piece(number, source, self.count, rows.count))
        self.count += rows.count
        for values, more in zip(self._values.values(), rows.columns, strict=True):
            values += more  # noqa: PLW2901  # in place

    def sift(self, span: Span) -> dict[int, Refused]:
        """Take out the rows that cannot be; say what is wrong, by the number of the batch."""
        for name, known in self._table.enums.items():
            values = self._values[name]
            if max(values) >= known or min(values) < 0:
                values[:] = [value if 0 <= value < known else 0 for value in values]
        reasons: dict[int, str] = {}
        for rows, reason in problems(self._table, self._values, span):
            for row in rows:
                reasons.setdefault(row, reason)
        return self._take_out(reasons) if reasons else {}

    def _take_out(self, reasons: dict[int, str]) -> dict[int, Refused]:
        refused: dict[int, Refused] = {}
        for piece in self._pieces:
            bad = [row for row in range(piece.begin, piece.begin + piece.count) if row in reasons]
            if bad:
                said = f"{self._table.name} row {bad[0] - piece.begin}: {reasons[bad[0]]}"
                refused[piece.number] = Refused(len(bad), said)
                piece.count -= len(bad)
        good = [row not in reasons for row in range(self.count)]
        for values in self._values.values():
            values[:] = compress(values, good)
        self.count -= len(reasons)
        return refused

    def insert(self) -> Insert:
        table, values = self._table, self._values
        columns: list[tuple[str, str, Sequence[Any]]] = [
            ("ts", "DateTime('UTC')", values["window_start"]),
            ("cluster", TEXT, self._repeated("cluster")),
            ("host", TEXT, self._repeated("host")),
        ]
        if table.has_windows:
            columns.append(("window_s", "UInt16", values["window_s"]))
        if table.has_host_pool:
            columns.append(("host_pool", TEXT, self._repeated("host_pool")))
        columns += [(name, TEXT, values[name]) for name in table.texts]
        columns += [
            (name, _type(name, highest), values[name]) for name, highest in table.numbers.items()
        ]
        # Enum8 travels as the number it is.
        columns += [(name, "Int8", values[name]) for name in table.enums]
        for name in table.bucket_columns:
            columns.append((name, _BUCKETS if name.endswith("_buckets") else _COUNTS, values[name]))
        names, types, data = map(list, zip(*columns, strict=True))
        return Insert(table.raw, names, types, data)

    def _repeated(self, name: str) -> list[str]:
        values: list[str] = []
        for piece in self._pieces:
            values += [getattr(piece.source, name)] * piece.count
        return values


def _type(name: str, highest: int) -> str:
    return "DateTime('UTC')" if name == "process_start" else _INTEGERS.get(highest, "UInt64")
