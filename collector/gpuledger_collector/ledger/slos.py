"""Service level objectives: how fast an endpoint must answer, how much, and how reliably."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from gpuledger_collector.ledger.book import Book
from gpuledger_collector.ledger.fields import Fields
from gpuledger_collector.ledger.kinds import Label, Moment, Number
from gpuledger_collector.ledger.requests import UNATTRIBUTED

_LEAST = Decimal("0.001")

FIELDS = {
    "team": Label(
        about="Team of the endpoint, as its workloads are labelled",
        column="team",
        required=True,
        taken=UNATTRIBUTED,
    ),
    "endpoint": Label(about="Endpoint", column="endpoint", required=True),
    "model": Label(about="Model behind the endpoint; left out: any", column="model"),
    "latency_ms": Number(
        about="Latency that requests must stay inside, milliseconds",
        column="latency_ms",
        required=True,
        lowest=Decimal(1),
        highest=Decimal(3_600_000),
        decimals=0,
    ),
    "percentile": Number(
        about="How many of the requests must stay inside, percent: 95 is a target for the p95",
        column="percentile",
        required=True,
        lowest=_LEAST,
        highest=Decimal(100),
    ),
    "throughput_rps": Number(
        about="Requests per second that must be served",
        column="throughput_rps",
        lowest=_LEAST,
        highest=Decimal(100_000_000),
    ),
    "attainment_pct": Number(
        about="In how many of the hours all of this must hold, percent",
        column="attainment_pct",
        required=True,
        lowest=_LEAST,
        highest=Decimal(100),
    ),
    "from": Moment(about="From when on, UTC", column="valid_from", required=True),
    "until": Moment(
        about="Until when: a date counts to its last moment; left out: no end",
        column="valid_until",
        end=True,
    ),
    "owner": Label(about="Who answers for it", column="owner", prose=True),
    "reason": Label(about="Why, in the words of the team", column="reason", prose=True),
}
"""Fields of an entry of a file."""


@dataclass(frozen=True, slots=True)
class Slo:
    """One objective. Times in UTC; `valid_until` is the first moment after it, None if open.

    "" in model means any.
    """

    team: str
    model: str
    endpoint: str
    valid_from: datetime
    valid_until: datetime | None
    latency_ms: int
    percentile: Decimal
    throughput_rps: Decimal | None
    attainment_pct: Decimal
    owner: str
    reason: str

    @property
    def title(self) -> str:
        """What people call it."""
        model = f" of {self.model}" if self.model else ""
        return f"{self.team}/{self.endpoint}{model} from {self.valid_from:%Y-%m-%d %H:%M}"


def _build(read: Fields) -> Slo | None:
    labels = read.labels("team", "endpoint", "model")
    latency_ms, throughput_rps = read.number("latency_ms"), read.number("throughput_rps")
    percentile, attainment_pct = read.number("percentile"), read.number("attainment_pct")
    valid_from, valid_until = read.moment("from"), read.moment("until")
    if valid_from and valid_until and valid_until <= valid_from:
        read.note("until", "is not after `from`; correct one of them")
    notes = read.labels("owner", "reason")
    if latency_ms is None or percentile is None or attainment_pct is None or valid_from is None:
        return None
    key = (*labels.values(), valid_from)
    read.unique("from", key, "an objective of this endpoint from then on", "delete one")
    return Slo(
        valid_from=valid_from,
        valid_until=valid_until,
        latency_ms=int(latency_ms),
        percentile=percentile,
        throughput_rps=throughput_rps,
        attainment_pct=attainment_pct,
        **labels,
        **notes,
    )


BOOK = Book("slos", "slos", Slo, ("team", "endpoint", "model", "valid_from"), FIELDS, _build)
