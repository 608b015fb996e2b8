"""Profiles of a period read whole days as days, and say what its minutes say one by one."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_collector.report import queries
from gpuledger_collector.report.period import Period
from tests.ledger_fleet import BASE, empty, insert
from tests.random_books import RANDOM_BOOKS
from tests.test_days_stand import rest
from tests.test_rollup_days import two_days

WITNESS = """
WITH minutes AS
(
    SELECT
        hour, team, model, endpoint, pool, gpu_model,
        sumForEach(allocated_gpu_ms_by_minute) AS granted,
        sumForEach(active_gpu_ms_by_minute) AS active,
        sumForEach(unmeasured_gpu_ms_by_minute) AS unmeasured
    FROM usage_hourly
    WHERE hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}
    GROUP BY ALL
)
SELECT
    if(team = '', 'unattributed', team), model, endpoint, pool, gpu_model,
    quantileExactIf(0.5)(a + u, g > 0) / 60000,
    quantileExactIf(0.95)(a + u, g > 0) / 60000,
    maxIf(a + u, g > 0) / 60000,
    quantileExactIf(0.95)(g, g > 0) / 60000
FROM minutes ARRAY JOIN granted AS g, active AS a, unmeasured AS u
GROUP BY team, model, endpoint, pool, gpu_model
"""

COLUMNS = (
    *("team", "model", "endpoint", "pool", "gpu_model"),
    *("used_gpus_p50", "used_gpus_p95", "used_gpus_max", "allocated_gpus_p95"),
)

HOUR = timedelta(hours=1)
MIDNIGHT = BASE.replace(hour=0)


@settings(RANDOM_BOOKS, max_examples=4)
@given(rng=st.randoms(use_true_random=False))
def test_profiles_when_the_period_cuts_days_then_they_are_those_of_its_minutes(
    client: Client, rng: random.Random
) -> None:
    empty(client)
    for table, rows in two_days(rng).rows.items():
        insert(client, table, rows)
    rest(client)
    for since, until in (
        (MIDNIGHT, MIDNIGHT + timedelta(days=2)),
        (BASE + HOUR, BASE + timedelta(days=1, hours=1)),
        (BASE + HOUR, BASE + 2 * HOUR),
        (MIDNIGHT - HOUR, BASE + timedelta(days=1, hours=1)),
    ):
        [profiles] = [query for query in queries.load() if query.name == "profiles"]
        told = client.query(profiles.printed(Period(since, until), ""))
        parameters = {"since": since, "until": until}
        expected = client.query(WITNESS, parameters=parameters).result_rows
        said = [tuple(row[name] for name in COLUMNS) for row in told.named_results()]
        assert sorted(said) == [pytest.approx(row) for row in sorted(expected)]
