"""Kinds of inference server: files (TOML) that say which of their metrics mean what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Any

from gpuledger_agent import toml
from gpuledger_agent.attribution.globs import Globs
from gpuledger_agent.attribution.labels import shown

MAX_BYTES = 1 << 18
"""Of a file."""

MAX_FAMILIES = 100
"""Of a file."""

BUILT_IN = "families.toml"


class Column(StrEnum):
    """What is read of a server."""

    REQUESTS = "requests"
    ERRORS = "errors"
    PROMPT_TOKENS = "prompt_tokens"
    GENERATED_TOKENS = "generated_tokens"
    RUNNING = "running"
    WAITING = "waiting"
    KV_CACHE = "kv_cache"
    LATENCY = "latency"
    TTFT = "ttft"


COUNTERS = (Column.REQUESTS, Column.ERRORS, Column.PROMPT_TOKENS, Column.GENERATED_TOKENS)
GAUGES = (Column.RUNNING, Column.WAITING, Column.KV_CACHE)
HISTOGRAMS = (Column.LATENCY, Column.TTFT)

_TIMES = {"s": 1_000_000, "ms": 1_000, "us": 1}
_UNITS = {
    Column.LATENCY: _TIMES,
    Column.TTFT: _TIMES,
    Column.KV_CACHE: {"fraction": 100, "percent": 1},
}
"""Units of a metric, the first by default, and by what a value of each is multiplied."""


class FamiliesError(ValueError):
    """A file that cannot be taken: one line, `FILE: what; remedy`."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Metrics that are added together, as far as their labels fit.

    `scale` makes microseconds of a histogram's bounds, and percent of a fraction.
    """

    metrics: tuple[str, ...]
    where: tuple[tuple[str, Globs], ...] = ()
    scale: int = 1

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether a series of these labels is meant."""
        return all(globs.fit(labels.get(name, "")) for name, globs in self.where)


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of server: where its metrics usually are, and what each column is made of.

    Of a column's selectors the first counts that a server has. `served_model` is the label that
    names the model, "" if there is none.
    """

    name: str
    ports: tuple[int, ...]
    paths: tuple[str, ...]
    served_model: str
    columns: Mapping[Column, tuple[Selector, ...]]

    def metrics(self) -> Iterator[str]:
        """Names of all samples that any column is made of."""
        for column, selectors in self.columns.items():
            endings = ("_bucket", "_sum", "_count") if column in HISTOGRAMS else ("",)
            for selector in selectors:
                yield from (metric + ending for metric in selector.metrics for ending in endings)


def load(path: Path | None = None) -> tuple[Family, ...]:
    """The families of this file, if any, then those that come with the agent.

    Raises FamiliesError.
    """
    own = parse(_read(path), str(path)) if path else ()
    names = {family.name for family in own}
    text = (resources.files(__package__) / BUILT_IN).read_text("utf-8")
    return (*own, *(one for one in parse(text, BUILT_IN) if one.name not in names))


def parse(text: str, file: str) -> tuple[Family, ...]:
    """The families that the text of a file describes. Raises FamiliesError."""
    try:
        document = toml.loads(text)
        tables = document.pop("family", [])
        if document:
            raise ValueError(f"{shown(min(document))}: is not a setting; take [[family]]")
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise ValueError("family: is not a list of tables; start each with [[family]]")
        if len(tables) > MAX_FAMILIES:
            raise ValueError(f"holds {len(tables)} families; {MAX_FAMILIES} are the most")
        return tuple(_family(table, number) for number, table in enumerate(tables, 1))
    except ValueError as error:
        raise FamiliesError(f"{file}: {error}") from error


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise FamiliesError(f"{path}: is larger than {MAX_BYTES >> 10} KiB; shorten it")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise FamiliesError(
            f"{path}: cannot be read: {error.strerror}; name a file that can be"
        ) from error
    except UnicodeDecodeError as error:
        raise FamiliesError(f"{path}: is not UTF-8 text; save the file as UTF-8") from error


def _family(table: dict[str, Any], number: int) -> Family:
    where = f"family {number}"
    name = _texts(where, "name", table.pop("name", None))
    where += f" ({shown(name[0])})"
    ports = table.pop("ports", [])
    if not isinstance(ports, list) or not all(_is_port(port) for port in ports):
        raise ValueError(f"{where}: ports: is not a list of port numbers; write [8000]")
    paths = _texts(where, "paths", table.pop("paths", "/metrics"))
    if not all(is_path(path) for path in paths):
        raise ValueError(f'{where}: paths: holds what is no path; write ["/metrics"]')
    model = _texts(where, "served_model", table.pop("served_model", "-"))[0]
    columns = {}
    for key, value in table.items():
        if key not in set(Column):
            raise ValueError(f"{where}: {shown(key)}: is not a key; take one of {', '.join(_KEYS)}")
        columns[Column(key)] = _selectors(f"{where}: {key}", Column(key), value)
    if not columns:
        raise ValueError(f"{where}: reads nothing; add at least one of {', '.join(Column)}")
    return Family(name[0], tuple(ports), paths, "" if model == "-" else model, columns)


_KEYS = ("name", "ports", "paths", "served_model", *Column)


def _selectors(where: str, column: Column, value: object) -> tuple[Selector, ...]:
    alternatives = value if isinstance(value, list) else [value]
    if not alternatives:
        raise ValueError(f"{where}: is empty; write the name of a metric, in quotes")
    return tuple(_selector(where, column, one) for one in alternatives)


def _selector(where: str, column: Column, value: object) -> Selector:
    table = {"metric": value} if isinstance(value, str) else value
    if not isinstance(table, dict):
        raise ValueError(f"{where}: is neither a metric nor a table; write its name in quotes")  # noqa: TRY004
    for key in table.keys() - {"metric", "metrics", "where", "unit"}:
        raise ValueError(f"{where}: {shown(key)}: is not a key; take metric, metrics, where, unit")
    metrics = _texts(where, "metrics", table.get("metrics", table.get("metric")))
    labels = table.get("where", {})
    if not isinstance(labels, dict):
        raise ValueError(f'{where}: where: is not a table; write where.LABEL = "PATTERN"')  # noqa: TRY004
    globs = tuple((name, Globs(_texts(where, name, value))) for name, value in labels.items())
    units = _UNITS.get(column, {"": 1})
    unit = table.get("unit", next(iter(units)))
    if unit not in units:
        raise ValueError(f"{where}: unit: take one of {', '.join(units) or 'none'}")
    return Selector(metrics, globs, units[unit])


def _texts(where: str, key: str, value: object) -> tuple[str, ...]:
    values: Sequence[object] = value if isinstance(value, list) else [value]
    texts = tuple(text for text in values if isinstance(text, str) and text)
    if not texts or len(texts) < len(values):
        raise ValueError(f'{where}: {key}: is not text; write "..." or ["...", "..."]')
    return texts


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 16


def is_path(text: str) -> bool:
    """Whether this is the target of an HTTP request, its query included."""
    return text.startswith("/") and text.isascii() and text.isprintable() and " " not in text
