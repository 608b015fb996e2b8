"""The queries of a review: one SQL file each in `gpuledger_sql/report`.

A file begins with its header, TOML in `--` comments: `title`, and `keys`, the columns that name a
row; all others are measured. Its parameters are those of `printed`.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

from gpuledger_collector.report.period import Period

_PARAMETER = re.compile(r"\{(\w+):[^}]*\}")


@dataclass(frozen=True, slots=True)
class Query:
    """One question to the books."""

    name: str
    title: str
    keys: tuple[str, ...]
    sql: str

    def printed(self, period: Period, team: str) -> str:
        """The statement with its parameters filled in: what is run, and what is printed."""
        values = {
            "before": _time(period.before),
            "since": _time(period.since),
            "until": _time(period.until),
            "step_s": str(3600 * period.step_hours),
            "team": literal(team),
        }
        return _PARAMETER.sub(lambda match: values[match[1]], self.sql)


def load() -> tuple[Query, ...]:
    """All queries by name."""
    folder = resources.files("gpuledger_sql") / "report"
    files = {file.name: file for file in folder.iterdir() if file.name.endswith(".sql")}
    return tuple(parse(n.removesuffix(".sql"), files[n].read_text("utf-8")) for n in sorted(files))


def parse(name: str, text: str) -> Query:
    """The query in the text of a file."""
    lines = text.splitlines()
    end = next(n for n, line in enumerate(lines) if not re.match(r"-- \w+ = ", line))
    header = tomllib.loads("\n".join(line.removeprefix("--") for line in lines[:end]))
    return Query(name, header["title"], tuple(header["keys"]), "\n".join(lines[end:]))


def literal(text: str) -> str:
    """Text as SQL writes it, on one line."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + "".join(c if c.isprintable() else _escape(c) for c in escaped) + "'"


def _escape(character: str) -> str:
    return "".join(f"\\x{byte:02X}" for byte in character.encode())


def _time(moment: datetime) -> str:
    return f"toDateTime('{moment:%Y-%m-%d %H:%M:%S}', 'UTC')"
