"""Every query of packaging/grafana, asked of a filled fleet as Grafana's user."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.dashboard_fleet import CROWD, CROWD_HOURS, fill_books
from tests.grafana_files import (
    BOARDS,
    Json,
    Query,
    alert_rules,
    panel_queries,
    variable_queries,
    variables,
)
from tests.grafana_macros import Range, Values, in_backend, in_browser
from tests.packaged_clickhouse import READER, Answer, Packaged, packaged
from tests.rule_fleet import END

NOW = END + timedelta(minutes=5)
"""When somebody looks: the books end shortly before."""

ALL: Values = {
    **dict.fromkeys(("cluster", "pool", "team", "model", "endpoint", "gpu")),
    "host": ["host-0"],
}

CHOSEN: Values = {
    "cluster": ["east"], "pool": ["production", "it's"], "team": ["search"], "model": ["ranker"],
    "endpoint": ["chat"], "host": ["host-0"], "gpu": ["GPU-host-0-0", "GPU-hot"],
}  # fmt: skip
"""A value of each variable; one of many has a quote."""

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

PANELS, VARIABLES = list(panel_queries()), list(variable_queries())


@dataclass(frozen=True)
class Books(Packaged):
    """What was asked once is known."""

    known: dict[str, Answer] = field(default_factory=dict)

    def ask(self, sql: str, user: str = READER, **settings: Any) -> Answer:
        if sql not in self.known:
            self.known[sql] = super().ask(sql, user, **settings)
        return self.known[sql]


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """The filled fleet, written by the users that the packages come with."""
    with packaged(tmp_path_factory.mktemp("grafana"), fill_books) as found:
        yield Books(found.server)


def moment(text: str) -> datetime:
    """`now-7d`, as dashboards say it."""
    found = re.fullmatch(r"now(?:([+-]\d+)([smhd]))?", text)
    assert found, text
    return NOW + timedelta(seconds=int(found[1] or 0) * UNITS[found[2] or "s"])


def shown(query: Query) -> Range:
    """What the dashboard shows when it is opened, on a screen of some hundred points."""
    since, until = moment(query.board["time"]["from"]), moment(query.board["time"]["to"])
    least = re.fullmatch(r"(\d+)([smhd])", query.panel.get("interval", "")) or ["", "1", "s"]
    points = int((until - since).total_seconds()) // 500
    return Range(since, until, max(int(least[1]) * UNITS[least[2]], points))


def answer(books: Books, query: Query, values: Values) -> Answer:
    """Ask a panel's or variable's query."""
    said = books.ask(in_backend(in_browser(query.sql, values), shown(query)))
    assert not said.error, said.error
    return said


def numeric(kind: str) -> bool:
    return re.search(r"Int|Float|Decimal", kind) is not None


def seen(said: Answer) -> dict[str, list[Any]]:
    """Values of each column that are there."""
    return {
        name: [row[name] for row in said.rows if row[name] is not None] for name in said.columns
    }


@pytest.mark.parametrize("query", PANELS, ids=lambda query: query.id)
def test_panel_when_the_fleet_is_full_then_every_column_has_something_to_show(
    books: Books, query: Query
) -> None:
    said = answer(books, query, ALL)
    assert said.rows
    assert [name for name, values in seen(said).items() if not values] == []
    if query.panel["type"] == "timeseries":
        _assert_series(said, shown(query))
    else:
        _assert_units(said, query.panel)


def _assert_series(said: Answer, range_: Range) -> None:
    """Time first and in order, at most one name, then numbers; each point of a series once."""
    (time, kind), *others = said.columns.items()
    assert time == "time"
    assert kind.startswith("DateTime")
    names = [name for name, of in others if not numeric(of)]
    assert len(names) <= 1
    assert len(others) > len(names)
    times = [row["time"] for row in said.rows]
    assert times == sorted(times)
    points = [(row["time"], *(row[name] for name in names)) for row in said.rows]
    assert len(points) == len(set(points))
    day_before = range_.since - timedelta(days=1)
    assert times[0] >= f"{day_before:%Y-%m-%d %H:%M:%S}"
    assert times[-1] <= f"{range_.until:%Y-%m-%d %H:%M:%S}"


def _assert_units(said: Answer, panel: Json) -> None:
    """Numbers have a unit: the panel's, or their column's own."""
    own = {
        override["matcher"]["options"]
        for override in panel["fieldConfig"]["overrides"]
        if any(one["id"] == "unit" for one in override["properties"])
    }
    named = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
    linked = set(re.findall(r"__data\.fields\.(\w+)", str(panel)))
    assert named | linked <= set(said.columns)
    if panel["fieldConfig"]["defaults"]["unit"] == "none":
        assert {name for name, kind in said.columns.items() if numeric(kind)} <= own


OF_ALL = {"Which models carry the traffic"}
"""Panels that show everybody, whoever is chosen, and say so."""


@pytest.mark.parametrize("query", PANELS, ids=lambda query: query.id)
def test_panel_when_values_are_chosen_then_it_shows_these_alone(books: Books, query: Query) -> None:
    if query.panel["type"] != "table":
        sql = in_backend(in_browser(query.sql, CHOSEN), shown(query))
        assert books.ask(f"EXPLAIN QUERY TREE {sql}").error == ""
        return
    said = seen(answer(books, query, CHOSEN))
    if query.panel["title"] not in OF_ALL:
        for name in set(variables(query.board)) & set(said):
            assert {str(value) for value in said[name]} <= set(CHOSEN[name] or ())


@pytest.mark.parametrize("query", VARIABLES, ids=lambda query: query.id)
def test_variable_when_the_fleet_is_full_then_there_is_something_to_choose(
    books: Books, query: Query
) -> None:
    said = answer(books, query, ALL)
    assert len(said.columns) == 1
    [values] = seen(said).values()
    assert values
    assert all(values)
    assert len(values) == len(set(values))
    [fewer] = seen(answer(books, query, CHOSEN)).values()
    assert set(fewer) <= set(values)
    assert len(fewer) < len(values) or "$" not in query.sql


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: rule["uid"])
def test_alert_when_the_fleet_is_full_then_each_row_is_one_number_by_its_labels(
    books: Books, rule: Json
) -> None:
    said = _judged(books, rule)
    numbers = [name for name, kind in said.columns.items() if numeric(kind)]
    assert len(numbers) == 1
    assert all(isinstance(row[numbers[0]], int | float) for row in said.rows)
    labels = [
        tuple(value for name, value in row.items() if name not in numbers) for row in said.rows
    ]
    assert len(labels) == len(set(labels)) > 0
    assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= set(said.columns)


def _judged(books: Books, rule: Json) -> Answer:
    asked = rule["data"][0]
    since = NOW - timedelta(seconds=asked["relativeTimeRange"]["from"])
    said = books.ask(in_backend(asked["model"]["rawSql"], Range(since, NOW)))
    assert not said.error, said.error
    return said


FIRING = {
    "gpuledger-gpus-failing", "gpuledger-telemetry-lost", "gpuledger-pool-full",
    "gpuledger-critical-findings", "gpuledger-notices-failed",
}  # fmt: skip
"""What is wrong with this fleet."""


def test_alerts_when_something_is_wrong_then_those_that_are_for_it_fire(books: Books) -> None:
    firing = set()
    for rule in alert_rules():
        evaluator = rule["data"][1]["model"]["conditions"][0]["evaluator"]
        [limit] = evaluator["params"]
        said = _judged(books, rule)
        [name] = [name for name, kind in said.columns.items() if numeric(kind)]
        above = evaluator["type"] == "gt"
        if any(row[name] > limit if above else row[name] < limit for row in said.rows):
            firing.add(rule["uid"])
    by_the_clock = {"gpuledger-no-telemetry", "gpuledger-hosts-silent"}
    assert firing - by_the_clock == FIRING


@pytest.mark.parametrize("query", [*PANELS, *VARIABLES], ids=lambda query: query.id)
def test_query_when_the_books_are_large_then_it_reads_what_it_shows(
    books: Books, query: Query
) -> None:
    said = answer(books, query, ALL)
    assert said.read_rows < min(CROWD, CROWD_HOURS) / 2


def test_books_when_they_are_read_whole_then_that_is_more_than_any_query_may(
    books: Books,
) -> None:
    for view in (
        "gpu_usage",
        "process_usage",
        "agent_health",
        "endpoint_traffic",
        "usage_hourly",
        "gpu_allocation",
    ):
        said = books.ask(f"SELECT count() FROM {view} WHERE NOT ignore(*)")
        assert said.read_rows > min(CROWD, CROWD_HOURS), view


def test_dashboards_when_counted_then_they_are_what_was_promised() -> None:
    assert {board["uid"].removeprefix("gpuledger-") for board in BOARDS} == {
        "capacity", "team", "model", "headroom", "host", "findings", "agents",
    }  # fmt: skip
    assert all(variables(board) for board in BOARDS)
