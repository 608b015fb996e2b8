"""Valid rows of many hosts into the columns of one insert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpuledger_collector.tables import U8, U16, U32, Table
from gpuledger_collector.validate import Checked, Rows

_INTEGERS = {U8: "UInt8", U16: "UInt16", U32: "UInt32"}


@dataclass(frozen=True, slots=True)
class Source:
    """Who a stream speaks for, by its Hello: rows are filed under this, whatever they say."""

    cluster: str
    host: str
    host_pool: str


@dataclass(frozen=True, slots=True)
class Part:
    """The rows that one batch brings."""

    source: Source
    checked: Checked


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


def inserts(parts: Sequence[Part]) -> list[Insert]:
    """One insert per table that the parts have rows of, in the order of the tables."""
    by_table: dict[str, list[tuple[Source, Rows]]] = {}
    for part in parts:
        for rows in part.checked.rows:
            by_table.setdefault(rows.table.name, []).append((part.source, rows))
    return [_insert(pieces[0][1].table, pieces) for pieces in by_table.values()]


def _insert(table: Table, pieces: list[tuple[Source, Rows]]) -> Insert:
    columns: list[tuple[str, str, Sequence[Any]]] = [
        ("ts", "DateTime('UTC')", _concatenated("window_start", pieces)),
        ("cluster", _TEXT, _repeated([(s.cluster, r.count) for s, r in pieces])),
        ("host", _TEXT, _repeated([(s.host, r.count) for s, r in pieces])),
    ]
    if table.has_windows:
        columns.append(("window_s", "UInt16", _concatenated("window_s", pieces)))
    if table.has_host_pool:
        pools = [(s.host_pool, r.count) for s, r in pieces]
        columns.append(("host_pool", _TEXT, _repeated(pools)))
    columns += [(name, _TEXT, _concatenated(name, pieces)) for name in table.texts]
    columns += [
        (name, _number_type(name, highest), _concatenated(name, pieces))
        for name, highest in table.numbers.items()
    ]
    # Enum8 travels as the number it is.
    columns += [(name, "Int8", _concatenated(name, pieces)) for name in table.enums]
    names, types, values = map(list, zip(*columns, strict=True))
    return Insert(table.raw, names, types, values)


_TEXT = "LowCardinality(String)"


def _number_type(name: str, highest: int) -> str:
    return "DateTime('UTC')" if name == "process_start" else _INTEGERS.get(highest, "UInt64")


def _concatenated(name: str, pieces: list[tuple[Source, Rows]]) -> Sequence[Any]:
    if len(pieces) == 1:
        return pieces[0][1].columns[name]
    values: list[Any] = []
    for _, rows in pieces:
        values += rows.columns[name]
    return values


def _repeated(runs: list[tuple[str, int]]) -> list[str]:
    values: list[str] = []
    for text, count in runs:
        values += [text] * count
    return values
