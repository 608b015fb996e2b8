"""A healthy fleet raises nothing in a month, whenever it is looked at; one that is not, does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger import findings, rules
from tests.hour_books import HOUR, count, usage, workloads, write
from tests.month_fleet import BEGIN, CAPACITY, END, OWNERS, Owner, fill, hours
from tests.rule_fleet import ask, introduce, report, request
from tests.slo_books import promise

LOOKS = (*(day * 25 * HOUR for day in range(1, 8)), *(n * 61 * HOUR for n in range(3, 12)))
"""When rules are evaluated, from the beginning on. In the first week there is more to know each
day; then rules see the same week again, and hours and weekdays have their turn."""

HEARD_FROM = END - timedelta(days=13)
"""What agents say of themselves is not kept for longer."""

RANKER, TUNING = OWNERS[0], OWNERS[-1]


def speak(client: Client, at: datetime) -> None:
    """Every host reports."""
    for pool in CAPACITY:
        introduce(client, "east", f"{pool}-host", pool, HEARD_FROM)
        report(client, [at - timedelta(minutes=1)], cluster="east", host=f"{pool}-host")


def declare(client: Client, owners: Sequence[Owner] = OWNERS) -> None:
    """Everybody has asked for what they need, and promised what they serve."""
    wanted = [
        request(
            owner.team,
            id=owner.model,
            model=owner.model,
            pool=owner.pool,
            gpu_model="",
            gpus=owner.gpus,
            requested_from=BEGIN - timedelta(days=9),
        )
        for owner in owners
    ]
    ask(client, *wanted)
    promise(client, *(owner.objective for owner in owners if owner.promised))


def invade(client: Client, host_of: Owner) -> None:
    """Research works for three hours on the host of somebody else."""
    owner = {**TUNING.labels, "host_pool": host_of.pool, "gpu_model": host_of.labels["gpu_model"]}
    held = [(WEEK - n * HOUR, 1, 50, TUNING.mem_mib) for n in (1, 2, 3)]
    guests = [
        row for each in held for row in workloads(*each, host=f"{host_of.team}-host", **owner)
    ]
    write(client, usage=[usage(*each, **owner) for each in held], workload=guests)


def look(client: Client, at: datetime) -> list[dict[str, Any]]:
    """All open findings, after all rules were evaluated without failing."""
    outcomes = findings.evaluate(client, rules.built_in(), at)
    assert [outcome for outcome in outcomes if outcome.error] == []
    return list(client.query("SELECT * FROM open_findings").named_results())


@pytest.mark.timeout(600)
def test_rules_when_a_healthy_fleet_lives_for_a_month_then_no_rule_ever_finds_anything(
    client: Client,
) -> None:
    declare(client)
    fill(client)
    since = BEGIN
    for until in (BEGIN + age for age in LOOKS):
        count(client, hours(since, until))
        if until > HEARD_FROM:
            speak(client, until)
        found = look(client, until)
        assert [(row["rule"], row["subject"], row["evidence"]) for row in found] == [], until
        since = until
    assert until <= END
    asked = "SELECT outcome, uniqExact(team, model) FROM slo_attainment GROUP BY outcome"
    promised = sum(owner.promised for owner in OWNERS)
    assert set(client.query(asked).result_rows) == {("met", promised), ("missed", promised)}


WEEK = BEGIN + timedelta(days=8)
LAST = (8 * 24 - 1, 8 * 24 - 2, 8 * 24 - 3)
UNWELL = (
    Owner("sick", "idler", "production", 40, 50_000, "idle", requests=1_000, sm_pct=20),
    Owner("sick", "stuck", "production", 2, 50_000, "stuck", 1_000, also_missed=LAST),
    Owner("sick", "full", "production", 2, 50_000, "full", 1_000, sm_pct=900, also_missed=LAST),
)


def test_rules_when_some_endpoints_of_that_month_are_unwell_then_each_is_found_and_nothing_else(
    client: Client,
) -> None:
    hurt = replace(RANKER, also_missed=LAST[:1])
    owners = (hurt, *OWNERS[1:], *UNWELL)
    declare(client, owners)
    fill(client, owners, WEEK)
    invade(client, hurt)
    count(client, hours(BEGIN, WEEK))
    found = {(row["rule"], row["subject"]): row["evidence"] for row in look(client, WEEK)}
    guest = ("experiment_on_production", "research (experiment) in east")
    assert found.keys() == {
        ("slo_met_at_low_utilization", "sick idler idle"),
        ("slo_missed_with_headroom", "sick stuck stuck"),
        ("slo_missed_while_saturated", "sick full full"),
        ("planning_by_model_count", "production"),
        guest,
    }
    assert found["planning_by_model_count", "production"]["tail"] == "idler"
    assert found[guest]["slo_hurt"].startswith("search ranker rank missed in 1 of 3 hours")
