"""Macros and variables of Grafana's ClickHouse plugin, written out as Grafana does.

After the documentation of version 4, grafana.com/docs/plugins/grafana-clickhouse-datasource:
"Macros" on its page on the query editor, "Using the All option" on that on template variables.
Variables and `$__conditionalAll` are the browser's; the backend, which alert rules know alone, has
the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

Values = Mapping[str, Sequence[str] | None]
"""Chosen values of each variable; None is All."""

_CONDITION = re.compile(r"\$__conditionalAll\((?P<condition>.+?\)), \$(?P<name>\w+)\)")
_VARIABLE = re.compile(r"\$\{(\w+):singlequote\}")


class MacroError(Exception):
    """Something that Grafana would send to ClickHouse as it stands."""


@dataclass(frozen=True)
class Range:
    """The time shown, and how many seconds a point of it is."""

    since: datetime
    until: datetime
    interval_s: int = 60


def in_browser(sql: str, values: Values) -> str:
    """Fill in variables. Raises MacroError at one that has no value."""

    def condition(found: re.Match[str]) -> str:
        return "1=1" if values[found["name"]] is None else found["condition"]

    def variable(found: re.Match[str]) -> str:
        chosen = values[found[1]]
        if chosen is None:
            raise MacroError(f"{found[1]} is All and in no $__conditionalAll: {sql}")
        return ",".join("'" + value.replace("'", "\\'") + "'" for value in chosen)

    return _VARIABLE.sub(variable, _CONDITION.sub(condition, sql))


def in_backend(sql: str, shown: Range) -> str:
    """Fill in the time. Raises MacroError if anything is left that begins with a dollar."""
    since, until = int(shown.since.timestamp()), int(shown.until.timestamp())
    days = f"{shown.since:%Y-%m-%d}", f"{shown.until:%Y-%m-%d}"
    for pattern, written in (
        (r"timeFilter\((\w+)\)", rf"\1 >= toDateTime({since}) AND \1 <= toDateTime({until})"),
        (r"dateFilter\((\w+)\)", rf"\1 >= toDate('{days[0]}') AND \1 <= toDate('{days[1]}')"),
        (
            r"timeInterval\((\w+)\)",
            rf"toStartOfInterval(toDateTime(\1), INTERVAL {shown.interval_s} second)",
        ),
        (r"interval_s\b", str(shown.interval_s)),
        (r"fromTime\b", f"toDateTime({since})"),
        (r"toTime\b", f"toDateTime({until})"),
    ):
        sql = re.sub(rf"\$__{pattern}", written, sql)
    if "$" in sql:
        raise MacroError(f"not a macro of the plugin, or not of its backend: {sql}")
    return sql
