"""A healthy fleet raises nothing in a month, whenever it is looked at."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger import findings, rules
from tests.month_fleet import BEGIN, CAPACITY, END, HOUR, OWNERS, fill, live
from tests.rule_fleet import ask, introduce, report, request

EVERY = 25 * HOUR
"""Once a day, an hour later each day: in a month every hour of the day has its turn."""

HEARD_FROM = END - timedelta(days=13)
"""What agents say of themselves is not kept for longer."""


def speak(client: Client, at: datetime) -> None:
    """Every host reports."""
    for pool in CAPACITY:
        introduce(client, "east", f"{pool}-host", pool, HEARD_FROM)
        report(client, [at - timedelta(minutes=1)], cluster="east", host=f"{pool}-host")


def declare(client: Client) -> None:
    """Everybody has asked for what they need."""
    wanted = [
        request(
            owner.team,
            pool=owner.pool,
            gpu_model="",
            gpus=Decimal(owner.gpus),
            requested_from=BEGIN - timedelta(days=9),
        )
        for owner in OWNERS
    ]
    ask(client, *wanted)


@pytest.mark.timeout(600)
def test_rules_when_a_healthy_fleet_lives_for_a_month_then_no_rule_ever_finds_anything(
    client: Client,
) -> None:
    declare(client)
    fill(client)
    for day in range(28):
        since = BEGIN + day * EVERY
        until = since + EVERY
        live(client, until, since=since)
        if until > HEARD_FROM:
            speak(client, until)
        outcomes = findings.evaluate(client, rules.built_in(), until)
        found = client.query("SELECT rule, subject, evidence FROM open_findings").result_rows
        assert (found, [outcome for outcome in outcomes if outcome.error]) == ([], []), until
    assert until <= END
