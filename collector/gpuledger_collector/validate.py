"""What comes from the network is believed only after this.

Structure (columns of unequal length, indexes into nothing, two days) condemns a whole batch; a
value that cannot be condemns its row. Values are checked over whole columns, of many batches at
once; rows are looked at one by one only where such a check has failed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpuledger_collector import histograms
from gpuledger_collector.histograms import Layout, LayoutError
from gpuledger_collector.tables import MOST, TABLES, U32, Table
from gpuledger_proto.v1 import telemetry_pb2 as wire

MAX_ROWS = 20_000
"""Rows of a batch, over all tables."""

MAX_BYTES = 2 << 20
"""Bytes of one message."""

MAX_DICTIONARY = 4_096
MAX_STRING_BYTES = 256
MAX_GPUS = 1_024
MAX_LABELS = 64
MAX_HOST_CHARS = 253

FUTURE_S = 300
"""How far ahead of ours an agent's clock may be."""

DAY_S = 86_400

Span = tuple[float, float]
"""The oldest start of a window that still counts, and now; seconds since the epoch."""


class BatchRefused(Exception):  # noqa: N818  # an answer, not an accident
    """Nothing of the batch can be stored; says why in one line."""


class HelloRefused(Exception):  # noqa: N818
    """A stranger that cannot be filed; says why in one line."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a batch says for one table: `columns` as `table.columns` names them, texts resolved."""

    table: Table
    count: int
    columns: list[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Read:
    """A batch that is sound in its structure; `day` is the UTC day of all its windows."""

    day: int
    rows: list[Rows]

    @property
    def count(self) -> int:
        """Rows over all tables."""
        return sum(rows.count for rows in self.rows)


def check_hello(hello: wire.Hello) -> None:
    """Raise HelloRefused unless this can be filed."""
    if not hello.host or len(hello.host) > MAX_HOST_CHARS:
        raise HelloRefused(f"host must have 1 to {MAX_HOST_CHARS} characters")
    if len(hello.gpus) > MAX_GPUS:
        raise HelloRefused(f"{len(hello.gpus)} GPUs; at most {MAX_GPUS} a host")
    if len(hello.labels) > MAX_LABELS:
        raise HelloRefused(f"{len(hello.labels)} labels; at most {MAX_LABELS}")
    texts = [hello.host, hello.cluster, hello.host_pool, hello.agent_version, hello.boot_id]
    texts += [hello.driver_version, *hello.labels.keys(), *hello.labels.values()]
    for gpu in hello.gpus:
        texts += [gpu.uuid, gpu.model, gpu.parent_uuid, gpu.mig_profile]
    for text in texts:
        if problem := _text_problem(text):
            raise HelloRefused(f"{text[:40]!r} {problem}")


def read_batch(batch: wire.Batch) -> Read:
    """What the batch says, its values unseen. Raises BatchRefused."""
    texts, layouts = _dictionary(batch.dictionary), _layouts(batch)
    present = [
        (table, message) for table in TABLES if (message := getattr(batch, table.name)).window_start
    ]
    total = sum(len(message.window_start) for _, message in present)
    if total > MAX_ROWS:
        raise BatchRefused(f"{total} rows; at most {MAX_ROWS} a batch")
    days = {
        edge // DAY_S
        for _, message in present
        for edge in (min(message.window_start), max(message.window_start))
    }
    if len(days) > 1:
        raise BatchRefused("its windows lie in more than one UTC day")
    rows = [_rows(table, message, texts, layouts) for table, message in present]
    return Read(days.pop() if days else 0, rows)


def row_count(batch: wire.Batch) -> int:
    """Rows of a batch over all its tables."""
    return sum(len(getattr(batch, table.name).window_start) for table in TABLES)


def _layouts(batch: wire.Batch) -> list[Layout]:
    try:
        return histograms.layouts(batch.layouts)
    except LayoutError as error:
        raise BatchRefused(f"layouts: {error}") from None


def _dictionary(dictionary: Sequence[str]) -> list[str]:
    texts = list(dictionary) or [""]
    if texts[0]:
        raise BatchRefused("dictionary: entry 0 must be empty")
    if len(texts) > MAX_DICTIONARY:
        raise BatchRefused(f"dictionary: {len(texts)} entries; at most {MAX_DICTIONARY}")
    together = "".join(texts)
    if together.isascii() and "\0" not in together and max(map(len, texts)) <= MAX_STRING_BYTES:
        return texts
    for index, text in enumerate(texts):
        if problem := _text_problem(text):
            raise BatchRefused(f"dictionary: entry {index} {problem}")
    return texts


def _text_problem(text: str) -> str:
    if len(text) > MAX_STRING_BYTES or len(text.encode()) > MAX_STRING_BYTES:
        return f"is longer than {MAX_STRING_BYTES} bytes"
    if "\0" in text:
        return "holds a NUL"
    return ""


def _rows(table: Table, message: Any, texts: list[str], layouts: list[Layout]) -> Rows:
    count = len(message.window_start)
    columns: list[Sequence[Any]] = []
    for name in table.columns[: len(table.columns) - len(table.bucket_columns)]:
        column = getattr(message, name)
        if not column:
            column = [0] * count  # absent, which means all zero
        elif len(column) != count:
            raise BatchRefused(f"{table.name}.{name}: {len(column)} values for {count} rows")
        if name in table.texts:
            try:
                column = list(map(texts.__getitem__, column))
            except IndexError:
                raise BatchRefused(f"{table.name}.{name}: an index beyond the dictionary") from None
        columns.append(column)
    for name in table.histograms:
        used, counts = getattr(message, f"{name}_layout"), getattr(message, f"{name}_counts")
        try:
            columns += histograms.by_row(used or [0] * count, counts, layouts, count)
        except LayoutError as error:
            raise BatchRefused(f"{table.name}.{name}_{error}") from None
    return Rows(table, count, columns)


def problems(
    table: Table, columns: Mapping[str, Sequence[Any]], span: Span
) -> Iterator[tuple[list[int], str]]:
    """Rows that cannot be, with the reason; nothing where whole columns are in order."""
    if table.has_windows:
        yield from _window_problems(columns["window_start"], columns["window_s"])
    yield from _time_problems(columns["window_start"], span)
    for name, highest in table.numbers.items():
        limit = 100 if name in table.percents else highest
        # Others take whatever the wire can carry.
        if limit != U32 and max(columns[name]) > limit:
            bad = _rows_above(columns[name], [limit] * len(columns[name]))
            yield bad, f"{name} is over {limit}"
    longest = [1000 * seconds for seconds in columns.get("window_s", ())]
    for name in table.within_window:
        if any(map(operator.gt, columns[name], longest)):
            yield _rows_above(columns[name], longest), f"{name} is longer than the window"
    yield from _day_problems(table, columns)
    for name in table.histograms:
        counts = columns[f"{name}_counts"]
        if max(map(sum, counts)) > MOST:
            bad = _rows_above([sum(row) for row in counts], [MOST] * len(counts))
            yield bad, f"{name}_counts add up to more than {MOST}"
    for less, more in table.no_more_than:
        if any(map(operator.gt, columns[less], columns[more])):
            yield _rows_above(columns[less], columns[more]), f"{less} is over {more}"


def _day_problems(
    table: Table, columns: Mapping[str, Sequence[Any]]
) -> Iterator[tuple[list[int], str]]:
    for name in table.within_day:
        # A view makes hours of it, so a gap without end would be everybody's trouble.
        left = [DAY_S - start % DAY_S for start in columns["window_start"]]
        if any(map(operator.gt, columns[name], left)):
            yield _rows_above(columns[name], left), f"{name} goes beyond its UTC day"


def _window_problems(
    starts: Sequence[int], lengths: Sequence[int]
) -> Iterator[tuple[list[int], str]]:
    pairs = set(zip(starts, lengths, strict=True))
    wrong = {(s, n) for s, n in pairs if not 0 < n <= 60 or 60 % n or s % n}
    if wrong:
        rows = enumerate(zip(starts, lengths, strict=True))
        bad = [row for row, pair in rows if pair in wrong]
        yield bad, "window_start is no multiple of window_s, or window_s no divisor of 60"


def _time_problems(starts: Sequence[int], span: Span) -> Iterator[tuple[list[int], str]]:
    oldest, now = span
    if max(starts) > now + FUTURE_S:
        bad = _rows_where(starts, lambda start: start > now + FUTURE_S)
        yield bad, f"the window lies more than {FUTURE_S} s in the future: check the host's clock"
    if min(starts) < oldest:
        bad = _rows_where(starts, lambda start: start < oldest)
        days = (now - oldest) / DAY_S
        yield bad, f"the window is older than {days:.3g} days: such are no longer kept"


def _rows_where(column: Sequence[int], wrong: Callable[[int], bool]) -> list[int]:
    return [row for row, value in enumerate(column) if wrong(value)]


def _rows_above(column: Sequence[int], limits: Sequence[int]) -> list[int]:
    pairs = zip(column, limits, strict=True)
    return [row for row, (value, limit) in enumerate(pairs) if value > limit]
