"""Books written as files again: reading one gives what was written."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

import yaml

from gpuledger_collector.ledger.book import Book, Record

FORMATS = ("yaml", "csv", "json")


def export(book: Book[Record], records: Sequence[Record], form: str) -> str:
    """The records as a file in one of FORMATS."""
    entries = [book.entry(record) for record in records]
    if form == "csv":
        return _csv(list(book.kinds), [list(entry.values()) for entry in entries])
    short = [{k: v for k, v in entry.items() if v is not None and v != ""} for entry in entries]
    if form == "json":
        return json.dumps({book.name: short}, indent=2, ensure_ascii=False, default=str) + "\n"
    return str(yaml.safe_dump({book.name: short}, sort_keys=False, allow_unicode=True, width=1000))


def _csv(header: list[str], rows: list[list[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
