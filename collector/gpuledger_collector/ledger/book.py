"""A book of declarations: files are read into it, compared with it, and written out of it.

A book is a table in which every version that was applied stays; the latest of a key counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger import csv_file, yaml_file
from gpuledger_collector.ledger.declared import MAX_ENTRIES, Problems, read_text
from gpuledger_collector.ledger.fields import Fields
from gpuledger_collector.ledger.kinds import Kind


class Declaration(Protocol):
    """A frozen dataclass whose fields are columns of its book."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def title(self) -> str:
        """What people call it."""


Record = TypeVar("Record", bound=Declaration)


@dataclass(frozen=True, slots=True)
class Change(Generic[Record]):
    """What applying a declaration would alter: `before` is None for a new one."""

    before: Record | None
    after: Record

    def differences(self) -> list[tuple[str, object, object]]:
        """Name in a file, value before and value after of every field that changes."""
        found = []
        for each in fields(self.after):
            old, new = getattr(self.before, each.name, None), getattr(self.after, each.name)
            if self.before is None or old != new:
                found.append((_in_file(each.name), old, new))
        return found


def _in_file(column: str) -> str:
    """What files call a column: `from` cannot be one in SQL."""
    return next((end for end in ("from", "until") if column.endswith(f"_{end}")), column)


@dataclass(frozen=True, slots=True)
class Book(Generic[Record]):
    """Declarations of one sort.

    `name` is the key above the list in YAML files, `key` the columns that versions of the same
    declaration have in common, `kinds` the fields of files. `build` makes a record of an entry,
    or notes what is wrong and returns None.
    """

    name: str
    table: str
    record: type[Record]
    key: tuple[str, ...]
    kinds: Mapping[str, Kind]
    build: Callable[[Fields], Record | None]

    def load(self, path: Path) -> list[Record]:
        """The entries of a YAML, JSON or CSV file. Raises DeclarationError: all that is wrong."""
        problems = Problems(path)
        text = read_text(path, problems)
        if path.suffix.lower() == ".csv":
            entries = csv_file.entries(text, problems)
        else:
            entries = yaml_file.entries(text, self.name, problems)
        seen: dict[object, int] = {}
        found = [self.build(Fields(entry, self.kinds, problems, seen)) for entry in entries]
        problems.raise_any()
        return [record for record in found if record is not None]

    def diff(self, client: Client, records: Sequence[Record]) -> list[Change[Record]]:
        """What applying these would change; those that stand as they are are left out."""
        current = {self._key(record): record for record in self.read_current(client)}
        pairs = ((current.get(self._key(record)), record) for record in records)
        return [Change(before, after) for before, after in pairs if before != after]

    def apply(self, client: Client, records: Sequence[Record]) -> list[Change[Record]]:
        """Write new versions of those that differ, in one insert; return what changed.

        Declarations that are not among them stay as they are.
        """
        changes = self.diff(client, records)
        if changes:
            [(applied_at,)] = client.query("SELECT now64(6, 'UTC')").result_rows
            names = self._columns()
            client.insert(
                self.table,
                [(applied_at, *(getattr(c.after, name) for name in names)) for c in changes],
                column_names=["applied_at", *names],
            )
        return changes

    def read_current(self, client: Client) -> list[Record]:
        """The latest version of every declaration in the books, in the order of their keys."""
        latest = {self._key(record): record for _, record in self.versions(client)}
        return [latest[key] for key in sorted(latest)]

    def versions(self, client: Client) -> list[tuple[datetime, Record]]:
        """Every version that was applied and when, the oldest first."""
        rows = client.query(
            f"SELECT applied_at, {', '.join(self._columns())} FROM {self.table}"  # noqa: S608
            " ORDER BY applied_at",
            query_tz="UTC",
            tz_mode="aware",
        ).result_rows
        return [(applied_at, self.record(*values)) for applied_at, *values in rows]

    def entry(self, record: Record) -> dict[str, Any]:
        """The record as an entry of a file; fields without a value are None or ""."""
        return {
            name: kind.written(getattr(record, kind.column)) for name, kind in self.kinds.items()
        }

    def schema(self) -> dict[str, Any]:
        """JSON Schema of files of this sort, as a YAML or JSON reader sees them."""
        entry = {
            "type": "object",
            "properties": {name: kind.schema() for name, kind in self.kinds.items()},
            "required": [name for name, kind in self.kinds.items() if kind.required],
            "additionalProperties": False,
        }
        listed = {"type": "array", "maxItems": MAX_ENTRIES, "items": entry}
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"gpuledger {self.name}",
            "type": "object",
            "properties": {self.name: listed},
            "required": [self.name],
            "additionalProperties": False,
        }

    def _columns(self) -> list[str]:
        return [f.name for f in fields(self.record)]

    def _key(self, record: Record) -> tuple[Any, ...]:
        return tuple(getattr(record, name) for name in self.key)
