"""What the views by day say, for comparison before and after hours have gone."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.rollup import Rollup
from gpuledger_collector.rollup_days import VIEWS, DayRollup
from tests.ledger_fleet import Fleet, insert

BY_DAY = (*VIEWS, "waste_by_team", "waste_by_model")

Figures = dict[str, dict[tuple[Any, ...], list[Any]]]
"""View -> day and owner -> everything else."""


def figures(client: Client) -> Figures:
    """All rows of all views by day."""
    return {view: _rows(client, view) for view in BY_DAY}


def same_as(said: Figures) -> Figures:
    """The same, floating point sums within rounding."""
    return {
        view: {key: [_nearly(value) for value in values] for key, values in rows.items()}
        for view, rows in said.items()
    }


def post(client: Client, fleet: Fleet) -> None:
    """Put a fleet into the books, by the hour and by the day."""
    for table, rows in fleet.rows.items():
        insert(client, table, rows)
    roll_up(client)


def roll_up(client: Client) -> None:
    """Bring hours and then days up to date, without waiting for either to rest."""
    for rollup in (Rollup(client, settle_s=0), DayRollup(client, rest_s=0)):
        while rollup.run_once():
            pass


def held_by_day(client: Client, at: datetime) -> dict[str, float]:
    """GPU-hours held on the day of `at`, by team."""
    rows = client.query(
        "SELECT team, sum(held_gpu_hours) FROM ledger_daily WHERE day = {day:Date} GROUP BY team",
        parameters={"day": at.date()},
    ).result_rows
    return dict(rows)


def _rows(client: Client, view: str) -> dict[tuple[Any, ...], list[Any]]:
    rows = client.query(f"SELECT * FROM {view}").result_rows
    told = {
        tuple(value for value in row if isinstance(value, str | date)): [
            value for value in row if not isinstance(value, str | date)
        ]
        for row in rows
    }
    assert len(told) == len(rows), f"{view} says something twice"
    return told


def _nearly(value: Any) -> Any:
    return pytest.approx(value) if isinstance(value, float) else value
