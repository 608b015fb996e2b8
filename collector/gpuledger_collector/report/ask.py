"""Put the queries of a review to the books."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib import metadata
from typing import Any

from clickhouse_connect.driver.client import Client

from gpuledger_collector.report import queries
from gpuledger_collector.report.model import Answer, Report
from gpuledger_collector.report.period import Period
from gpuledger_collector.store.client import reading

_SHOWN_TEAMS = 10

_AT_ONCE = 3
"""Queries: one thread plans each of them, for half of its time. Threads may share a client that
has no session, and `connect` asks for none."""

_TEAMS = """
    SELECT DISTINCT if(team = '', 'unattributed', team) FROM usage_daily
    UNION DISTINCT SELECT team FROM request_groups
    ORDER BY 1
"""


class UnknownTeamError(LookupError):
    """The books have no such team; says which there are."""


def ask(client: Client, period: Period, team: str, made_at: datetime) -> Report:
    """The review of a period, of one team or ("") of all.

    Raises UnknownTeamError or ClickHouseError.
    """
    if team:
        _require(team, [str(row[0]) for row in _query(client, _TEAMS).result_rows])
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda query: _answer(client, query, period, team), queries.load())
        named = {answer.name: answer for answer in answers}
    return Report(made_at, metadata.version("gpuledger"), period, team, named)


def _answer(client: Client, query: queries.Query, period: Period, team: str) -> Answer:
    sql = query.printed(period, team)
    result = _query(client, sql)
    rows = tuple(result.named_results())
    return Answer(query.name, query.title, query.keys, tuple(result.column_names), rows, sql)


def _query(client: Client, sql: str) -> Any:
    return client.query(sql, settings=reading(client), query_tz="UTC", tz_mode="aware")


def _require(team: str, known: Iterable[str]) -> None:
    names = list(known)
    if team in names:
        return
    near = difflib.get_close_matches(team, names, _SHOWN_TEAMS, 0) or names
    shown = ", ".join(_plain(name) for name in near[:_SHOWN_TEAMS])
    more = f" and {len(names) - _SHOWN_TEAMS} more" if len(names) > _SHOWN_TEAMS else ""
    told = f"there are {shown}{more}" if names else "there are no teams in them yet"
    raise UnknownTeamError(f"--team {_plain(team)}: not in the books; {told}")


def _plain(name: str) -> str:
    """What a host sent must not move a terminal's cursor."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()
