"""Rules that weigh traffic and objectives against GPUs: each finds its cases, no other speaks.

All cases stand in the same books, and the rules are evaluated once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger import findings, rules
from gpuledger_collector.store.client import connect
from tests.clickhouse_fixture import Databases
from tests.hour_books import HOUR, capacity, count, traffic, usage, workloads, write
from tests.ledger_fleet import Row
from tests.rule_fleet import END, ask, request
from tests.slo_books import objective, promise

GIB = 1024
AGES = range(25, 0, -1)
"""Hours of the books, as hours before END."""

GOOD, BAD = [200.0] * 20, [200.0, 1_700.0] * 10
"""Requests in milliseconds that meet a p95 of a second, and that miss it."""


@dataclass(frozen=True)
class Served:
    """An endpoint on two GPUs. `bad`: ages of the hours that miss the objective.

    `load_pct`: SM use in these, or in all hours if none is bad; else it is 50.
    """

    load_pct: float = 30
    kv_cache_pct: int = 10
    bad: tuple[int, ...] = ()
    promised: dict[str, Any] = field(default_factory=dict)
    team: str = "search"
    cluster: str = "east"

    def load(self, age: int) -> float:
        return self.load_pct if age in self.bad or not self.bad else 50


WITH_ROOM, FULL = "slo_missed_with_headroom", "slo_missed_while_saturated"
MISSED = {
    "room": (Served(bad=(3, 5), load_pct=30), WITH_ROOM),
    "some room": (Served(bad=(3, 5), load_pct=84.9), WITH_ROOM),
    "just full": (Served(bad=(3, 5), load_pct=85), FULL),
    "full": (Served(bad=(3, 5), load_pct=97), FULL),
}
"""Endpoints that miss their objective, and the rule that says so."""

QUIET = {
    "met by busy GPUs": Served(load_pct=80),
    "once": Served(bad=(3,)),
    "within what was promised": Served(bad=(3, 5), promised={"attainment_pct": Decimal(90)}),
    "too long ago": Served(bad=(25,)),
    "cannot be told": Served(bad=(3, 5), promised={"latency_ms": 1_800}),
    "no longer promised": Served(bad=(3, 5), promised={"valid_until": END - 10 * HOUR}),
}
"""Endpoints of which it is not proven, or that may."""

MET = {
    "roomy": (Served(load_pct=30, kv_cache_pct=10), True),
    "at the edge": (Served(load_pct=70, kv_cache_pct=70), True),
    "would fit on one": (Served(load_pct=35), True),
    "needs both": (Served(load_pct=36), False),
    "busy": (Served(load_pct=71, kv_cache_pct=10), False),
    "full of caches": (Served(load_pct=30, kv_cache_pct=71), False),
}
"""Endpoints that meet it, and whether their busiest hours leave room."""

BESIDE = {
    "hurt": Served(bad=(1,), load_pct=50, team="maps", cluster="west"),
    "apart": Served(bad=(2,), load_pct=50, team="speech", cluster="west"),
    "unhurt": Served(bad=(9,), load_pct=50, team="vision", cluster="north"),
}
"""Endpoints that have a guest from another pool for neighbour, but for `apart`."""

ENDPOINTS = {name: served for name, (served, _) in (MISSED | MET).items()} | QUIET | BESIDE

TWELVE = {f"m{number:02}": 30 if number < 3 else 1 for number in range(12)}
"""Requests by model: three carry nine tenths."""

ONE_EACH = dict.fromkeys(TWELVE, 1)
POOLS: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "by count": (TWELVE, ONE_EACH),
    "all are busy": (TWELVE, ONE_EACH),
    "caches are full": (TWELVE, ONE_EACH),
    "GPUs follow traffic": (TWELVE, {model: 4 if n > 1 else 1 for model, n in TWELVE.items()}),
    "all are asked": (dict.fromkeys(TWELVE, 8), ONE_EACH),
    "few models": ({"m00": 90, "m01": 3, "m02": 3}, {"m00": 1, "m01": 4, "m02": 4}),
    "few requests": ({model: n // 30 for model, n in TWELVE.items()}, ONE_EACH),
}
"""Pool -> requests an hour and GPUs by model. The first is planned by their number."""

LOAD = {"by count": (10, 30), "all are busy": (31, 10), "caches are full": (10, 31)}
"""Pool -> SM and KV cache use of its GPUs, percent; that of all others is 10."""


def serve(name: str, served: Served, age: int) -> dict[str, list[Row]]:
    """An hour of an endpoint."""
    at = END - age * HOUR
    owner: Row = {"team": served.team, "cluster": served.cluster, "endpoint": name}
    held = (at, 2, served.load(age), 60 * GIB)
    answered = BAD if age in served.bad else GOOD
    return {
        "usage": [usage(*held, **owner)],
        "workload": workloads(*held, **owner),
        "traffic": [traffic(at, answered, kv_cache_pct=served.kv_cache_pct, **owner)],
    }


def plan(pool: str, age: int) -> dict[str, list[Row]]:
    """An hour of a pool's models."""
    at = END - age * HOUR
    requests, gpus = POOLS[pool]
    sm_pct, kv_cache_pct = LOAD.get(pool, (10, 10))
    place: Row = {"host_pool": pool, "pool": pool}
    served: Row = {"kv_cache_pct": kv_cache_pct, **place}
    return {
        "usage": [usage(at, n, sm_pct, 60 * GIB, model=m, **place) for m, n in gpus.items()],
        "traffic": [traffic(at, [200.0], times=n, model=m, **served) for m, n in requests.items()],
        "capacity": [
            capacity(at, sum(gpus.values()), sum(gpus.values()), 80 * GIB, host_pool=pool)
        ],
    }


def invade(team: str, host: str, cluster: str, age: int) -> dict[str, list[Row]]:
    """An hour of work of another pool on a production host."""
    guest: Row = {"team": team, "model": "tune", "endpoint": "", "pool": "experiment"}
    held = (END - age * HOUR, 1, 50, 60 * GIB)
    return {
        "usage": [usage(*held, cluster=cluster, **guest)],
        "workload": workloads(*held, cluster=cluster, host=host, **guest),
    }


def fill(client: Client) -> None:
    """Write all cases."""
    parts = [serve(name, served, age) for name, served in ENDPOINTS.items() for age in AGES]
    parts += [plan(pool, age) for pool in POOLS for age in AGES]
    for age in range(4, 0, -1):
        parts.append(invade("research", "maps-host", "west", age))
        parts.append(invade("art", "vision-host", "north", age))
    for cluster in ("east", "west", "north"):
        gpus = 2 * sum(served.cluster == cluster for served in ENDPOINTS.values()) + 1
        parts += [
            {"capacity": [capacity(END - n * HOUR, gpus, gpus, 80 * GIB, cluster=cluster)]}
            for n in AGES
        ]
    names = ("usage", "workload", "traffic", "capacity")
    write(client, **{name: [row for p in parts for row in p.get(name, [])] for name in names})
    count(client, [END - age * HOUR for age in AGES])


def declare(client: Client) -> None:
    """Requests for all that is used, some that wait for a decision, and all objectives."""
    teams = {served.team for served in ENDPOINTS.values()}
    guests = [request(team, pool="experiment") for team in ("research", "art")]
    planned = [request("search", id=pool, pool=pool) for pool in POOLS]
    waiting = [
        request("search", 8, id="more", status="proposed", endpoint="roomy"),
        request("search", 8, id="at the edge", status="proposed", endpoint="at the edge"),
        request("search", id="of a model", status="proposed", endpoint="room", model="ranker"),
        request("search", id="of another", status="proposed", endpoint="room", model="tagger"),
        request("speech", id="of others", status="proposed", endpoint="roomy"),
    ]
    ask(client, *(request(team) for team in teams), *guests, *planned, *waiting)
    promised = [
        objective(**{"team": served.team, "endpoint": name} | served.promised)
        for name, served in ENDPOINTS.items()
    ]
    promise(client, *promised)


@pytest.fixture(scope="module")
def books(databases: Databases) -> Iterator[Client]:
    """All cases."""
    with databases.one() as config, connect(config) as client:
        declare(client)
        fill(client)
        yield client


@pytest.fixture(scope="module")
def found(books: Client) -> dict[str, dict[str, Any]]:
    """All open findings as of END, by subject, after all rules were evaluated without failing."""
    assert [o for o in findings.evaluate(books, rules.built_in(), END) if o.error] == []
    rows = list(books.query("SELECT * FROM open_findings").named_results())
    assert len({row["subject"] for row in rows}) == len(rows)
    return {row["subject"]: row for row in rows}


@pytest.fixture(scope="module")
def met(
    books: Client, found: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What the rule about objectives that are met finds, content with a day of telemetry."""
    assert "search ranker roomy" not in found, "a day is too short to judge by"
    path: Path = tmp_path_factory.mktemp("rules") / "rules.toml"
    path.write_text("[slo_met_at_low_utilization]\nmin_judged_hours = 24")
    [rule] = [rule for rule in rules.load(path) if rule.name == "slo_met_at_low_utilization"]
    [outcome] = findings.evaluate(books, [rule], END + timedelta(seconds=1))
    assert outcome.error == ""
    asked = "SELECT * FROM open_findings WHERE rule = 'slo_met_at_low_utilization'"
    return {row["subject"]: row for row in books.query(asked).named_results()}


def test_rules_when_all_cases_stand_in_the_books_then_those_that_are_none_are_left_alone(
    found: dict[str, dict[str, Any]],
) -> None:
    assert {subject: row["rule"] for subject, row in found.items()} == {
        **{f"search ranker {name}": rule for name, (_, rule) in MISSED.items()},
        "by count": "planning_by_model_count",
        "research (experiment) in west": "experiment_on_production",
        "art (experiment) in north": "experiment_on_production",
    }


@pytest.mark.parametrize("name", MISSED)
def test_missed_when_gpus_have_room_or_not_then_tune_or_grow(
    found: dict[str, dict[str, Any]], name: str
) -> None:
    served, rule = MISSED[name]
    row = found[f"search ranker {name}"]
    assert (row["rule"], row["team"], row["severity"]) == (rule, "search", "warning")
    assert row["usd"] is None
    assert row["evidence"] == {
        "hours_judged": "24",
        "hours_met": "22",
        "hours_missed": "2",
        "target_attainment_pct": "99",
        "missed_load_pct": str(served.load_pct),
        "gpus": "2",
        **({"proposed_requests": "of a model"} if name == "room" else {}),
    }


@pytest.mark.parametrize("name", MET)
def test_met_when_the_busiest_hours_leave_room_then_no_more_gpus(
    met: dict[str, dict[str, Any]], name: str
) -> None:
    served, told = MET[name]
    subject = f"search ranker {name}"
    assert (subject in met) == told
    if told:
        waiting = {"roomy": "more", "at the edge": "at the edge"}.get(name)
        row = met[subject]
        assert (row["team"], row["severity"]) == ("search", "info")
        assert row["usd"] == (pytest.approx(8 * 2 * 168) if waiting else None)
        assert row["evidence"] == {
            "hours_judged": "25",
            "hours_met": "25",
            "hours_missed": "0",
            "target_attainment_pct": "99",
            "load_pct_p95": str(max(served.load_pct, served.kv_cache_pct)),
            "gpus": "2",
            "gpus_needed": "2" if name == "at the edge" else "1",
            **({"proposed_requests": waiting} if waiting else {}),
        }


def test_model_count_when_three_of_twelve_carry_the_traffic_then_head_tail_and_money(
    found: dict[str, dict[str, Any]],
) -> None:
    row = found["by count"]
    assert (row["team"], row["pool"]) == ("", "by count")
    told = row["evidence"]
    assert (told["models"], told["tail_models"], told["head"]) == ("12", "9", "m00, m01, m02")
    assert told["tail"].startswith("m03, m04")
    assert (told["head_request_pct"], told["tail_gpu_pct"]) == ("90.9", "75")
    assert told["tail_gpus"] == "9"
    assert row["usd"] == pytest.approx(9 * 0.9 * 2 * 168)


def test_experiment_when_an_objective_is_missed_beside_it_then_whose_and_how_often(
    found: dict[str, dict[str, Any]],
) -> None:
    told = found["research (experiment) in west"]["evidence"]
    hurt = "maps ranker hurt missed in 1 of 4 hours beside it, in 0 of 20 others"
    assert told["slo_hurt"] == hurt
    assert (told["gpu_hours"], told["shares_hosts_with"]) == ("4", "maps")


def test_experiment_when_no_objective_is_missed_then_it_hurt_nobody(
    found: dict[str, dict[str, Any]],
) -> None:
    told = found["art (experiment) in north"]["evidence"]
    assert told["shares_hosts_with"] == "vision"
    assert "slo_hurt" not in told
