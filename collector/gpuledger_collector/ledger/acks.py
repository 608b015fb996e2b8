"""Acknowledgements: why nothing is to be done about a finding, and until when."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from gpuledger_collector import moments


class UnknownFindingError(LookupError):
    """No finding has this id."""


def find(client: Client, finding: str) -> dict[str, Any]:
    """The latest row of `findings` with this id. Raises UnknownFindingError."""
    rows = client.query(
        "SELECT * FROM findings WHERE id = {id:String} ORDER BY first_seen DESC LIMIT 1",
        parameters={"id": finding},
        query_tz="UTC",
        tz_mode="aware",
    ).named_results()
    for row in rows:
        return dict(row)
    raise UnknownFindingError(
        f"no finding has the id {finding!r}: gpuledger findings --all lists them"
    )


def acknowledge(client: Client, finding: str, until: datetime, by: str, reason: str) -> None:
    """Let a finding rest until then, even if it comes back. Raises UnknownFindingError.

    A later acknowledgement takes the place of an earlier one; one until now or before ends it.
    """
    find(client, finding)
    [(now,)] = client.query("SELECT now64(6, 'UTC')", tz_mode="aware").result_rows
    client.insert(
        "finding_acks",
        [(finding, now, until, by, reason)],
        column_names=["id", "acked_at", "until", "acked_by", "reason"],
    )


def read_until(text: str, now: datetime) -> datetime:
    """A moment (2026-01-31T08:00+01:00), the end of a date, or a time from now (30d, 12h).

    Without an offset it is UTC. Raises ValueError.
    """
    number, unit = text[:-1], text[-1:]
    if number.isascii() and number.isdigit() and unit in {"d", "h"} and len(number) <= 5:
        return now + (timedelta(days=int(number)) if unit == "d" else timedelta(hours=int(number)))
    return moments.read(text, end=True)
