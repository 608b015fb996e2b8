"""A healthy fleet's month by the hour: days, nights and weekends, and nothing that is wrong.

Hours are written as roll-ups leave them, so the month can be lived through hour by hour.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger.slos import Slo
from tests.hour_books import HOUR, capacity, traffic, usage, workloads, write
from tests.ledger_fleet import GPU_MODELS, Row
from tests.slo_books import objective

END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
HOURS = 30 * 24
BEGIN = END - HOURS * HOUR
CAPACITY = {"production": (GPU_MODELS[0], 20, 81_920), "experiment": (GPU_MODELS[1], 6, 24_576)}
"""Pool -> GPU model, GPUs, memory of each in MiB."""

GOOD, BAD = [200.0] * 20, [200.0, 1_700.0] * 10
"""Requests in milliseconds that meet the objective, and that miss it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A team with its model.

    `mem_mib`: what a replica needs when nothing is going on. `requests`, `sm_pct` and
    `kv_cache_pct`: in the busiest hour of the week, if there were GPUs enough. `also_missed`: hours
    after BEGIN that miss the objective, besides the one now and then that it allows.
    """

    team: str
    model: str
    pool: str
    gpus: int
    mem_mib: int
    endpoint: str = ""
    requests: int = 0
    sm_pct: int = 85
    kv_cache_pct: int = 10
    also_missed: Sequence[int] = ()
    promised: bool = True

    def replicas(self, at: datetime) -> int:
        """Speech follows the day, research works in office hours, all others stand."""
        match self.team:
            case "speech":
                return 2 + round(2 * daylight(at))
            case "research":
                return 0 if weekend(at) or not 8 <= at.hour < 18 else self.gpus
        return self.gpus

    def misses(self, at: datetime) -> bool:
        """Whether an hour misses the objective: one in five days, at any time of the day."""
        age = (at - BEGIN) // HOUR
        return age % 125 == len(self.model) or age in self.also_missed

    @property
    def objective(self) -> Slo:
        """A p95 of a second, in 99 % of the hours."""
        return objective(team=self.team, endpoint=self.endpoint, valid_from=BEGIN - HOUR)

    @property
    def labels(self) -> Row:
        """How its work is labelled."""
        return {
            "host_pool": self.pool, "pool": self.pool, "gpu_model": CAPACITY[self.pool][0],
            "team": self.team, "model": self.model, "endpoint": self.endpoint,
        }  # fmt: skip


OWNERS = (
    Owner("search", "ranker", "production", 8, 50_000, "rank", requests=30_000),
    Owner("speech", "encoder", "production", 4, 55_000, "asr", requests=4_000),
    # Nearly all requests of the pool, and a GPU with room: there is no less than one.
    Owner("search", "embedder", "production", 1, 45_000, "embed", requests=500_000, sm_pct=55),
    # Few requests, each of them long: what fills up is not the SMs.
    Owner("chat", "llm", "production", 4, 60_000, "chat", requests=400, sm_pct=35, kv_cache_pct=90),
    Owner("research", "tuning", "experiment", 4, 15_000, promised=False),
)


def daylight(at: datetime) -> float:
    """0 at four in the morning, 1 at four in the afternoon."""
    return 0.5 - 0.5 * math.cos(2 * math.pi * (at.hour - 4) / 24)


def weekend(at: datetime) -> bool:
    """The month begins with one, whatever the calendar says: hardest for who judges early."""
    return (at - BEGIN).days % 7 < 2


def rhythm(at: datetime) -> float:
    """How much of the week's busiest hour goes on: less at night and at weekends."""
    return (0.3 + 0.7 * daylight(at)) * (0.7 if weekend(at) else 1)


def hours(since: datetime, until: datetime) -> Iterator[datetime]:
    """The hours of the month from `since` until `until`."""
    return (at for at in (BEGIN + n * HOUR for n in range(HOURS)) if since <= at < until)


def fill(client: Client, owners: Iterable[Owner] = OWNERS, until: datetime = END) -> None:
    """Write the month until then; none of its hours counts yet."""
    owners = tuple(owners)
    books: dict[str, list[Row]] = {"capacity": [], "usage": [], "workload": [], "traffic": []}
    for at in hours(BEGIN, until):
        for owner in owners:
            if held := _held(owner, at):
                books["usage"].append(usage(at, *held, **owner.labels))
                books["workload"].extend(workloads(at, *held, **owner.labels))
            if owner.endpoint:
                books["traffic"].append(_served(owner, at))
        for pool, (gpu_model, gpus, mem_mib) in CAPACITY.items():
            taken = sum(owner.replicas(at) for owner in owners if owner.pool == pool)
            place = {"host_pool": pool, "gpu_model": gpu_model}
            books["capacity"].append(capacity(at, max(gpus, taken), taken, mem_mib, **place))
    write(client, **books)


def _held(owner: Owner, at: datetime) -> tuple[int, float, int] | None:
    """GPUs, SM use in percent and memory in MiB; None if it holds nothing."""
    gpus = owner.replicas(at)
    mem_mib = owner.mem_mib + round(8_000 * daylight(at) * owner.mem_mib / 50_000)
    return (gpus, min(owner.sm_pct * rhythm(at), 100), mem_mib) if gpus else None


def _served(owner: Owner, at: datetime) -> Row:
    return traffic(
        at,
        BAD if owner.misses(at) else GOOD,
        times=round(owner.requests * rhythm(at) / len(GOOD)),
        kv_cache_pct=round(owner.kv_cache_pct * rhythm(at)),
        **{name: told for name, told in owner.labels.items() if name != "gpu_model"},
    )
