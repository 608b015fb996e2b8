"""A review for machines: every answer with its rows, units and SQL."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from typing import Any

from gpuledger_collector.report.model import Answer, Report
from gpuledger_collector.report.units import unit_of


def render(report: Report) -> str:
    """The report as one JSON object. What is not known is null; times are UTC."""
    period = report.period
    document = {
        "gpuledger": report.version,
        "made_at": report.made_at,
        "since": period.since,
        "until": period.until,
        "previous_since": period.before,
        "team": report.team or None,
        "currency": "USD",
        "newest_telemetry": report.newest_telemetry,
        "sections": {name: _section(answer) for name, answer in report.answers.items()},
    }
    return json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _section(answer: Answer) -> dict[str, Any]:
    units = {column: unit_of(column) for column in answer.columns}
    return {
        "title": answer.title,
        "keys": answer.keys,
        "units": {column: unit for column, unit in units.items() if unit},
        "rows": answer.rows,
        "sql": answer.sql,
    }


def _plain(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case date():
            return value.isoformat()
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
