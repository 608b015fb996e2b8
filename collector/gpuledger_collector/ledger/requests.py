"""Capacity requests: who asked for how many GPUs, for what, from when until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from gpuledger_collector.ledger.book import Book
from gpuledger_collector.ledger.fields import Fields
from gpuledger_collector.ledger.kinds import Choice, Label, Moment, Number

UNATTRIBUTED = "unattributed"
"""What views call the owner of work that nobody owns; no team may."""

FIELDS = {
    "id": Label(about="Name of the request", column="id", required=True),
    "team": Label(
        about="Who asks, as its workloads are labelled",
        column="team",
        required=True,
        taken=UNATTRIBUTED,
    ),
    "model": Label(about="For which model; left out: any", column="model"),
    "endpoint": Label(about="For which endpoint; left out: any", column="endpoint"),
    "use_case": Label(about="For which use case; left out: any", column="use_case"),
    "pool": Label(about="In which pool", column="pool"),
    "gpu_model": Label(
        about="Part of NVML's name of the GPU, without regard to case; left out: any",
        column="gpu_model",
    ),
    "gpus": Number(
        about="How many GPUs",
        column="gpus",
        required=True,
        lowest=Decimal("0.001"),
        highest=Decimal(1_000_000),
    ),
    "gpu_memory_gib": Number(
        about="Memory that the team expects to need on each GPU, GiB",
        column="gpu_memory_gib",
        lowest=Decimal("0.001"),
        highest=Decimal(10_000),
    ),
    "expected_sm_pct": Number(
        about="SM use that the team expects, percent of each GPU",
        column="expected_sm_pct",
        lowest=Decimal(0),
        highest=Decimal(100),
    ),
    "from": Moment(about="From when on, UTC", column="requested_from", required=True),
    "until": Moment(
        about="Until when: a date counts to its last moment; left out: no end",
        column="requested_until",
        end=True,
    ),
    "status": Choice(
        about="Only approved requests count as requested",
        column="status",
        options=("approved", "proposed", "rejected", "withdrawn"),
        default="approved",
    ),
    "owner": Label(about="Who answers for it", column="owner", prose=True),
    "reason": Label(about="Why, in the words of the team", column="reason", prose=True),
}
"""Fields of an entry of a file."""


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
    gpu_memory_gib: Decimal | None
    expected_sm_pct: Decimal | None
    requested_from: datetime
    requested_until: datetime | None
    status: str
    owner: str
    reason: str

    @property
    def title(self) -> str:
        """What people call it."""
        return self.id


def _build(read: Fields) -> CapacityRequest | None:
    labels = read.labels("id", "team", "model", "endpoint", "use_case", "pool", "gpu_model")
    gpus = read.number("gpus")
    gpu_memory_gib, expected_sm_pct = read.number("gpu_memory_gib"), read.number("expected_sm_pct")
    requested_from, requested_until = read.moment("from"), read.moment("until")
    if requested_from and requested_until and requested_until <= requested_from:
        read.note("until", "is not after `from`; correct one of them")
    status, notes = read.choice("status"), read.labels("owner", "reason")
    if labels["id"]:
        read.unique("id", labels["id"], repr(labels["id"]), "rename one")
    if gpus is None or requested_from is None:
        return None
    return CapacityRequest(
        gpus=gpus,
        gpu_memory_gib=gpu_memory_gib,
        expected_sm_pct=expected_sm_pct,
        requested_from=requested_from,
        requested_until=requested_until,
        status=status,
        **labels,
        **notes,
    )


BOOK = Book("requests", "capacity_requests", CapacityRequest, ("id",), FIELDS, _build)
