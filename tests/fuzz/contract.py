"""What may reach ClickHouse, said a second time and apart from what checks it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from gpuledger_collector.columns import Insert

DAY_S = 86_400
MOST = 1 << 40
NO_LIMIT = (1 << 64) - 1

HIGHEST = {"UInt8": 255, "UInt16": 65_535, "UInt32": (1 << 32) - 1, "UInt64": (1 << 64) - 1,
           "Int8": 127, "DateTime('UTC')": (1 << 32) - 1}  # fmt: skip

PERCENT = re.compile(r".*_pct_.*|sm_pct_max")

NO_MORE_THAN = {
    "process_usage_raw": (("sm_busy_ms", "held_ms"), ("mem_mib_mean", "mem_mib_max")),
    "gpu_usage_raw": (("unallocated_ms", "observed_ms"), ("sm_busy_ms", "observed_ms")),
    "gpu_allocation_raw": (("unheld_ms", "granted_ms"),),
    "endpoint_traffic_raw": (("errors", "requests"),),
}
WITHIN_WINDOW = ("present_ms", "held_ms", "observed_ms", "granted_ms")

ENUMS = {"context": 3, "mem_source": 2, "sm_source": 5, "reason": 6}


class Breach(AssertionError):  # noqa: N818  # what it is
    """What was accepted cannot be; says which."""


def check(insert: Insert, span: tuple[float, float]) -> None:
    """Raise Breach unless every row of the insert may stand in the books."""
    columns = dict(zip(insert.names, insert.columns, strict=True))
    _demand({len(column) for column in insert.columns} == {insert.rows}, insert, "lengths")
    _demand(insert.rows > 0, insert, "empty")
    for name, kind in zip(insert.names, insert.types, strict=True):
        _check_column(insert, name, kind, columns[name])
    if "ts" in columns:
        _check_times(insert, columns, span)
    for less, more in NO_MORE_THAN.get(insert.table, ()):
        pairs = zip(columns[less], columns[more], strict=True)
        _demand(all(a <= b for a, b in pairs), insert, f"{less} over {more}")


def _demand(holds: bool, insert: Insert, what: str) -> None:
    if not holds:
        raise Breach(f"{insert.table}: {what}")


def _check_column(insert: Insert, name: str, kind: str, column: Sequence[Any]) -> None:
    if kind in HIGHEST:
        highest = 100 if PERCENT.fullmatch(name) else ENUMS.get(name, HIGHEST[kind])
        _demand(min(column) >= 0 and max(column) <= highest, insert, name)
    elif "String" in kind and "Map" not in kind:
        for text in set(column):
            _demand(len(text.encode()) <= 256 and "\0" not in text, insert, name)
    elif name.endswith("_counts"):
        _demand(all(sum(row) <= MOST and 0 not in row for row in column), insert, name)
    elif name.endswith("_buckets"):
        counts = insert.columns[insert.names.index(name.replace("_buckets", "_counts"))]
        for edges, row in zip(column, counts, strict=True):
            _demand(len(edges) == len(row) and _increase(edges), insert, name)


def _increase(edges: Sequence[tuple[int, int]]) -> bool:
    inside = all(0 <= low < high <= NO_LIMIT for low, high in edges)
    return inside and all(one[1] <= other[0] for one, other in pairwise(edges))


def _check_times(
    insert: Insert, columns: Mapping[str, Sequence[Any]], span: tuple[float, float]
) -> None:
    oldest, now = span
    times = columns["ts"]
    _demand(len({at // DAY_S for at in times}) == 1, insert, "two days")
    _demand(oldest <= min(times) and max(times) <= now + 300, insert, "time")
    lengths = columns.get("window_s")
    if lengths is None:
        ends = (at % DAY_S + gap for at, gap in zip(times, columns["gap_s"], strict=True))
        _demand(max(ends) <= DAY_S, insert, "gap_s")
        return
    for at, length in zip(times, lengths, strict=True):
        _demand(0 < length <= 60 and 60 % length == 0 == at % length, insert, "window")
    for name in WITHIN_WINDOW:
        pairs = zip(columns.get(name, ()), lengths, strict=False)
        _demand(all(value <= 1000 * length for value, length in pairs), insert, name)
