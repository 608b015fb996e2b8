"""What was requested at a time, and how a request came to be what it is."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger.book import Change
from gpuledger_collector.ledger.requests import BOOK, CapacityRequest

CHANGE_COLUMNS = ("applied_at", "id", "field", "before", "after")

COUNTED_COLUMNS = (
    *("id", "team", "pool", "model", "endpoint", "use_case", "gpu_model", "gpus"),
    *("counts_from", "counts_until"),
)


def changes(client: Client, name: str = "") -> list[tuple[Any, ...]]:
    """CHANGE_COLUMNS of every field of every version, oldest first; of one request if named.

    Fields that a first version leaves empty are left out.
    """
    before: dict[str, CapacityRequest] = {}
    rows: list[tuple[Any, ...]] = []
    for applied_at, request in BOOK.versions(client):
        if name in {"", request.id}:
            change = Change(before.get(request.id), request)
            rows += [
                (applied_at, request.id, field, old, new)
                for field, old, new in change.differences()
                if field != "id" and (old, new) not in {(None, ""), (None, None)}
            ]
            before[request.id] = request
    return rows


def counted_at(client: Client, moment: datetime) -> list[tuple[Any, ...]]:
    """COUNTED_COLUMNS of what counted as requested at a moment, as the books have it."""
    rows = client.query(
        f"SELECT {', '.join(COUNTED_COLUMNS)} FROM requests_in_force"  # noqa: S608
        " WHERE counts_from <= {at:DateTime('UTC')} AND counts_until > {at:DateTime('UTC')}"
        " ORDER BY id",
        parameters={"at": moment},
        query_tz="UTC",
        tz_mode="aware",
    ).result_rows
    return [tuple(row) for row in rows]
