"""Whatever is sent again: public names show each window once, before and after merges."""

from __future__ import annotations

import random
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger_fleet import BASE, TABLES, Row, empty, insert, random_fleet
from tests.random_books import RANDOM_BOOKS

HOST = {"cluster": "east", "host": "host-0"}
WINDOW = {"ts": BASE, "window_s": 10, **HOST}

OTHERS: dict[str, Row] = {
    "agent_health_raw": {**WINDOW, "ticks": 10},
    "endpoint_traffic_raw": {**WINDOW, "endpoint": "chat", "workload": "web", "requests": 7},
    "telemetry_gaps_raw": {"ts": BASE, "gap_s": 60, **HOST, "reason": "disk"},
    "hosts_raw": {**HOST, "boot_id": "b", "seen_at": BASE},
    "gpus_raw": {**HOST, "gpu": "GPU-0", "seen_at": BASE},
}
"""A row of each public name that a random fleet has nothing of."""


def shown(client: Client, table: str) -> list[Any]:
    view = table.removesuffix("_raw")
    return list(client.query(f"SELECT * FROM {view} ORDER BY ALL").result_rows)


@settings(RANDOM_BOOKS, max_examples=6)
@given(rng=st.randoms(use_true_random=False))
def test_windows_when_sent_again_in_any_order_then_each_is_shown_once(
    client: Client, rng: random.Random
) -> None:
    empty(client)
    fleet = random_fleet(rng)
    for table in TABLES:
        client.command(f"SYSTEM STOP MERGES {table}")
        rows = fleet.rows[table]
        insert(client, table, rows)
        once = shown(client, table)
        for _ in range(2):
            insert(client, table, rng.sample(rows, rng.randint(0, len(rows))))
        assert len(once) == len(rows)
        assert shown(client, table) == once
        client.command(f"SYSTEM START MERGES {table}")
        client.command(f"OPTIMIZE TABLE {table} FINAL")
        assert shown(client, table) == once


@pytest.mark.parametrize("table", OTHERS)
def test_rows_when_sent_again_then_each_is_shown_once_before_and_after_merges(
    client: Client, table: str
) -> None:
    client.command(f"SYSTEM STOP MERGES {table}")
    insert(client, table, [OTHERS[table]])
    once = shown(client, table)
    insert(client, table, [OTHERS[table]])
    assert len(once) == 1
    assert shown(client, table) == once
    client.command(f"SYSTEM START MERGES {table}")
    client.command(f"OPTIMIZE TABLE {table} FINAL")
    assert shown(client, table) == once
