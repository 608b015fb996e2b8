"""Existing waste that would cover a shortage: requests beyond their use, and idle allocations."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger.plan import Ask, Room

_REQUESTS = """
    SELECT 'request', id, team, gpu_model, reclaimable_gpus, ''
    FROM request_review
    WHERE pool = {pool:String} AND verdict IN ('oversized', 'unused') AND reclaimable_gpus > 0
    ORDER BY reclaimable_gpus DESC, id
"""

_IDLE = """
    SELECT
        'idle', workload, team, gpu_model, toFloat64(uniqExact(host, gpu)) AS gpus,
        toString(min(idle_since))
    FROM idle_allocations
    WHERE pool = {pool:String} AND idle_hours >= 1
    GROUP BY workload, team, gpu_model
    ORDER BY gpus DESC, workload
"""


@dataclass(frozen=True, slots=True)
class Waste:
    """GPUs that could be had back. `kind`: request or idle; `idle_since` is empty for requests.

    `within`: the request of the same team that counts these GPUs already, "" if none does.
    """

    pool: str
    kind: str
    name: str
    team: str
    gpu_model: str
    gpus: float
    idle_since: str
    within: str


def waste_for(
    client: Client, room: Room, *, team: str = "", spared: Collection[str] = ()
) -> list[Waste]:
    """What would cover a shortage of this room: first that of `team`, then the most first.

    Requests in `spared` stay.
    """
    found: list[Waste] = []
    for query in (_REQUESTS, _IDLE):
        for row in client.query(query, parameters={"pool": room.pool}).result_rows:
            kind, name, owner, gpu_model, gpus, since = row
            fits = Ask(room.pool, gpu_model, 0).fits(room.gpu_model)
            if fits and not (kind == "request" and name in spared):
                within = _request_of(owner, found) if kind == "idle" else ""
                found.append(Waste(room.pool, kind, name, owner, gpu_model, gpus, since, within))
    return sorted(found, key=lambda item: item.team != team)


def covered(waste: Collection[Waste]) -> float:
    """GPUs that could be had back, none counted twice."""
    return sum(item.gpus for item in waste if not item.within)


def _request_of(team: str, found: list[Waste]) -> str:
    return next((item.name for item in found if item.kind == "request" and item.team == team), "")
