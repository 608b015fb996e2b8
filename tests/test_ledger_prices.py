"""What waste costs."""

from __future__ import annotations

from datetime import timedelta

from clickhouse_connect.driver.client import Client

from tests.ledger_fleet import BASE, fill_an_hour, insert

LONG_AGO = BASE - timedelta(days=30)


def test_waste_when_priced_then_the_most_specific_price_that_has_begun_counts(
    client: Client,
) -> None:
    names = ("gpu_model", "pool", "priced_from", "usd_per_gpu_hour", "applied_at")
    listed = [
        ("", "", LONG_AGO, 1, LONG_AGO),
        ("h100", "", LONG_AGO, 2, LONG_AGO),
        ("h100", "production", LONG_AGO, 3, LONG_AGO),
        ("h100", "production", LONG_AGO, 4, BASE),
        ("H100 80GB", "", BASE + timedelta(hours=5), 9, LONG_AGO),
        ("A100", "", LONG_AGO, 7, LONG_AGO),
    ]
    insert(client, "gpu_prices", [dict(zip(names, row, strict=True)) for row in listed])
    fill_an_hour(client)
    rows = client.query(
        "SELECT waste_gpu_hours, waste_usd, allocated_usd, unpriced_waste_gpu_hours"
        " FROM waste_by_team"
    ).result_rows
    assert rows == [(0.5, 2.0, 4.0, 0.0)]


def test_waste_when_no_price_is_known_then_it_says_so(client: Client) -> None:
    fill_an_hour(client)
    rows = client.query(
        "SELECT waste_usd, unpriced_waste_gpu_hours FROM waste_by_model"
    ).result_rows
    assert rows == [(None, 0.5)]
