"""Declarations in CSV: a header of field names, then a line an entry."""

from __future__ import annotations

import csv
import io

from gpuledger_collector.ledger.declared import MAX_ENTRIES, Entry, Problems, Text

_OTHER_MARKS = ((";", "semicolons"), ("\t", "tabs"))
"""What spreadsheets write where the comma is taken for decimals."""


def entries(text: str, problems: Problems) -> list[Entry]:
    """The entries of the file. Raises DeclarationError if it is no table."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    found: list[Entry] = []
    try:
        header = next(reader, [])
        _check_header(header, problems)
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                found.append(_entry(header, cells, line, problems))
            line = reader.line_num + 1
            if len(found) > MAX_ENTRIES:
                problems.add(line, f"holds more than {MAX_ENTRIES} entries; split the file")
                problems.raise_any()
    except csv.Error as error:
        problems.add(reader.line_num, f"is not valid CSV: {error}; check its quotes")
        problems.raise_any()
    return found


def _check_header(header: list[str], problems: Problems) -> None:
    if not header:
        problems.add(1, "is empty; start with a header line of field names")
    for mark, name in _OTHER_MARKS:
        if len(header) == 1 and mark in header[0]:
            problems.add(1, f"has {name} between its columns; separate them by commas")
    for name in sorted({name for name in header if header.count(name) > 1}):
        problems.add(1, f"{name}: stands twice in the header; delete one column")
    problems.raise_any()


def _entry(header: list[str], cells: list[str], line: int, problems: Problems) -> Entry:
    if len(cells) != len(header):
        problems.add(
            line, f"has {len(cells)} cells for {len(header)} columns; quote values with commas"
        )
    pairs = zip(header, cells, strict=False)
    return Entry(line, {name: Text(cell, line) for name, cell in pairs if cell != ""})
