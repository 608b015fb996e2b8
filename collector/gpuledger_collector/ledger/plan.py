"""What a request would do to its pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger.requests import CapacityRequest

IN_SIGHT_DAYS = 3650
"""As in the view pool_headroom."""

NAMES_TOLD = 20
"""Pools or GPU models that one line names."""

_ROOMS = """
    SELECT
        pool, gpu_model, capacity_gpus, requested_gpus,
        greatest(allocated_gpus, ifNull(level_gpus, 0)),
        trend_gpus_per_day, 2 * trend_error_gpus_per_day
    FROM pool_headroom
    ORDER BY hour DESC
    LIMIT 1 BY pool, gpu_model
"""

_IN_FORCE = """
    SELECT id, pool, gpu_model, gpus
    FROM requests_in_force
    WHERE counts_from <= {at:DateTime('UTC')} AND counts_until > {at:DateTime('UTC')}
"""


@dataclass(frozen=True, slots=True)
class Ask:
    """GPUs wanted on top of what the books have; below 0: given back. "" in gpu_model: any."""

    pool: str
    gpu_model: str
    gpus: float

    def fits(self, gpu_model: str) -> bool:
        """Whether NVML's name of a GPU is what is asked for."""
        return self.gpu_model.lower() in gpu_model.lower()


@dataclass(slots=True)
class Room:
    """The GPUs of one model in a pool, and what is planned for them.

    `allocated`: the busiest weekday's daily p95 as the trend has it today, or what is allocated
    now if that is more. `trend` in GPUs a day, give or take `band`; None if not known. `unknown`
    says in one line why there are no such GPUs, and which are; "" if there are.
    """

    pool: str
    gpu_model: str
    capacity: float
    requested: float
    allocated: float
    trend: float | None
    band: float | None = None
    asked: float = 0
    unknown: str = ""

    @property
    def headroom_before(self) -> float:
        """Capacity less what is requested or allocated, whichever is more."""
        return self.capacity - max(self.requested, self.allocated)

    @property
    def headroom_after(self) -> float:
        """The same with what is asked for."""
        return self.headroom_before - self.asked

    @property
    def fits(self) -> bool:
        """Whether there is room for what is asked; giving back always fits."""
        return self.asked <= 0 or self.headroom_after >= 0

    def days_to_full(self, more: float = 0, *, bands: float = 0) -> float | None:
        """Days until the trend reaches capacity with so many GPUs more; None: not in sight.

        The trend is taken steeper by `bands` times its band: 1 is the earliest, -1 the latest.
        """
        left = self.capacity - self.allocated - more
        if self.trend is None:
            return None
        if left <= 0:
            return 0
        trend = self.trend + bands * (self.band or 0)
        days = left / trend if trend > 0 else None
        return days if days is not None and days <= IN_SIGHT_DAYS else None


def asks_of(client: Client, requests: Sequence[CapacityRequest], at: datetime) -> list[Ask]:
    """What a file asks for on top of what counts at this moment; proposed requests included."""
    rows = client.query(_IN_FORCE, parameters={"at": at}).result_rows
    counted = {
        str(name): Ask(str(pool), str(model), float(gpus)) for name, pool, model, gpus in rows
    }
    asks = []
    for request in requests:
        before = counted.get(request.id)
        wanted = request.status in {"approved", "proposed"}
        after = Ask(request.pool, request.gpu_model, float(request.gpus) if wanted else 0)
        if before and (before.pool, before.gpu_model) == (after.pool, after.gpu_model):
            asks.append(Ask(after.pool, after.gpu_model, after.gpus - before.gpus))
        else:
            asks.append(after)
            asks += [Ask(before.pool, before.gpu_model, -before.gpus)] if before else []
    return [ask for ask in asks if ask.gpus]


def rooms_for(client: Client, asks: Sequence[Ask]) -> list[Room]:
    """The rooms that the asks would change, with every ask placed where most room is left.

    What is given back comes first, then whoever is particular about the GPU model. An ask that
    no GPU fits gets a room without capacity.
    """
    rooms = [Room(*row) for row in client.query(_ROOMS).result_rows]
    for ask in sorted(asks, key=lambda ask: (ask.gpus > 0, -len(ask.gpu_model))):
        fitting = [room for room in rooms if room.pool == ask.pool and ask.fits(room.gpu_model)]
        if not fitting:
            unknown = _unknown(rooms, ask)
            fitting = [Room(ask.pool, ask.gpu_model, 0, 0, 0, None, unknown=unknown)]
            rooms += fitting
        _place(fitting, ask.gpus)
    return sorted((room for room in rooms if room.asked), key=lambda r: (r.pool, r.gpu_model))


def _unknown(rooms: list[Room], ask: Ask) -> str:
    """Why no GPU of the books fits."""
    known = [room for room in rooms if not room.unknown]
    models = {room.gpu_model for room in known if room.pool == ask.pool}
    if not known:
        return "no GPU is known yet: do agents report? (gpuledger-agent check)"
    if models:
        return f"pool {ask.pool!r} has no GPU {ask.gpu_model!r}; it has {_names(models)}"
    problem = f"pool {ask.pool!r} is not known" if ask.pool else "no pool is given"
    return f"{problem}; known are {_names({room.pool for room in known})}"


def _names(names: set[str]) -> str:
    more = f" and {len(names) - NAMES_TOLD} more" if len(names) > NAMES_TOLD else ""
    return ", ".join(map(repr, sorted(names)[:NAMES_TOLD])) + more


def _place(rooms: list[Room], gpus: float) -> None:
    rooms = sorted(rooms, key=lambda room: -room.headroom_after)
    for room in rooms:
        part = min(gpus, max(room.headroom_after, 0))
        room.asked += part
        gpus -= part
    rooms[0].asked += gpus
