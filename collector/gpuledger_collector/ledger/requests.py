"""Capacity requests: who asked for how many GPUs, for what, from when until when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger import csv_file, yaml_file
from gpuledger_collector.ledger.declared import Entry, Problems, read_text
from gpuledger_collector.ledger.fields import MAX_NOTE, Fields

STATUSES = ("approved", "proposed", "rejected", "withdrawn")

UNATTRIBUTED = "unattributed"
"""What views call the owner of work that nobody owns; no team may."""

FIELDS = (
    *("id", "team", "model", "endpoint", "use_case", "pool", "gpu_model", "gpus"),
    *("expected_sm_pct", "from", "until", "status", "owner", "reason"),
)
"""Fields of an entry, as written in files."""

_MIN_GPUS, _MAX_GPUS = Decimal("0.001"), Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class CapacityRequest:
    """One request. Times in UTC; `requested_until` is the first moment after it, None if open.

    "" in model, endpoint, use_case or gpu_model means any.
    """

    id: str
    team: str
    model: str
    endpoint: str
    use_case: str
    pool: str
    gpu_model: str
    gpus: Decimal
    expected_sm_pct: Decimal | None
    requested_from: datetime
    requested_until: datetime | None
    status: str
    owner: str
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """What applying a request would alter: `before` is None for a new one."""

    before: CapacityRequest | None
    after: CapacityRequest

    def differences(self) -> list[tuple[str, object, object]]:
        """Name in a file, value before and value after of every field that changes."""
        found = []
        for each in fields(self.after):
            old, new = getattr(self.before, each.name, None), getattr(self.after, each.name)
            if self.before is None or old != new:
                found.append((each.name.removeprefix("requested_"), old, new))
        return found


def load(path: Path) -> list[CapacityRequest]:
    """The requests of a YAML or CSV file. Raises DeclarationError with all that is wrong."""
    problems = Problems(path)
    text = read_text(path, problems)
    if path.suffix.lower() == ".csv":
        entries = csv_file.entries(text, problems)
    else:
        entries = yaml_file.entries(text, "requests", problems)
    requests = [_request(entry, problems) for entry in entries]
    _note_doubles(entries, problems)
    problems.raise_any()
    return [request for request in requests if request is not None]


def diff(client: Client, requests: Sequence[CapacityRequest]) -> list[Change]:
    """What applying these would change; those that stand as they are are left out."""
    current = {request.id: request for request in read_current(client)}
    return [
        Change(current.get(request.id), request)
        for request in requests
        if current.get(request.id) != request
    ]


def apply(client: Client, requests: Sequence[CapacityRequest]) -> list[Change]:
    """Write new versions of those that differ, in one insert; return what changed.

    Requests that are not among them stay as they are.
    """
    changes = diff(client, requests)
    if changes:
        [(applied_at,)] = client.query("SELECT now64(6, 'UTC')").result_rows
        client.insert(
            "capacity_requests",
            [(applied_at, *astuple(change.after)) for change in changes],
            column_names=["applied_at", *(f.name for f in fields(CapacityRequest))],
        )
    return changes


def read_current(client: Client) -> list[CapacityRequest]:
    """The latest version of every request in the books."""
    names = [f.name for f in fields(CapacityRequest)]
    rows = client.query(
        f"SELECT {', '.join(names)} FROM capacity_requests"  # noqa: S608 - names of fields
        " ORDER BY applied_at DESC LIMIT 1 BY id",
        query_tz="UTC",
        tz_mode="aware",
    ).result_rows
    return [CapacityRequest(*row) for row in rows]


def _request(entry: Entry, problems: Problems) -> CapacityRequest | None:
    read = Fields(entry, FIELDS, problems)
    team = read.label("team", required=True)
    if team.lower() == UNATTRIBUTED:
        read.note("team", f"{team} is what the books call nobody; take the team's name")
    gpus = read.number("gpus", _MIN_GPUS, _MAX_GPUS, required=True)
    requested_from = read.moment("from", required=True)
    requested_until = read.moment("until", end=True)
    if requested_from and requested_until and requested_until <= requested_from:
        read.note("until", "is not after `from`; correct one of them")
    identifier = read.label("id", required=True)
    labels = {
        name: read.label(name) for name in ("model", "endpoint", "use_case", "pool", "gpu_model")
    }
    expected_sm_pct = read.number("expected_sm_pct", Decimal(0), Decimal(100))
    status = read.choice("status", STATUSES, "approved")
    notes = {name: read.label(name, longest=MAX_NOTE) for name in ("owner", "reason")}
    if gpus is None or requested_from is None:
        return None
    return CapacityRequest(
        id=identifier,
        team=team,
        gpus=gpus,
        expected_sm_pct=expected_sm_pct,
        requested_from=requested_from,
        requested_until=requested_until,
        status=status,
        **labels,
        **notes,
    )


def _note_doubles(entries: Sequence[Entry], problems: Problems) -> None:
    first: dict[str, int] = {}
    for entry in entries:
        text = entry.fields.get("id")
        if text is None:
            continue
        if text.value in first:
            problems.add(
                text.line,
                f"id: {text.value!r} stands on line {first[text.value]} already; rename one",
            )
        first.setdefault(text.value, text.line)
