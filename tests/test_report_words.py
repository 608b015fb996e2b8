"""Figures and verdicts of a review in words."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gpuledger_collector.report import units
from gpuledger_collector.report.capacity import forecast
from gpuledger_collector.report.requests import verdict


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "unknown"), (math.nan, "unknown"), (0, "0 USD"), (0.004, "< 0.01 USD"),
        (0.25, "0.25 USD"), (12.34, "12.3 USD"), (123.4, "123 USD"), (1234567.8, "1,234,568 USD"),
        (-1234.5, "-1,234 USD"), (-0.001, "> -0.01 USD"), (99.96, "100 USD"), (9.999, "10.0 USD"),
    ],
)  # fmt: skip
def test_number_when_shown_then_with_unit_and_thousands_apart(
    value: float | None, shown: str
) -> None:
    assert units.number(value, "USD") == shown


@pytest.mark.parametrize(
    ("value", "before", "shown"),
    [
        (150, 100, "50 % more"), (50, 100, "50 % less"), (100, 100, "as before"),
        (5, 0, "none before"), (None, 100, "no comparison"), (5, None, "no comparison"),
        (100.4, 100, "as before"), (1001, 1000, "less than 1 % more"), (0, 0, "as before"),
    ],
)  # fmt: skip
def test_change_when_told_then_in_words(
    value: float | None, before: float | None, shown: str
) -> None:
    assert units.change(value, before) == shown


def request_row(**given: Any) -> dict[str, Any]:
    return {
        "verdict": "fits", "status": "approved", "requested_gpus": 64.0, "used_gpus_p95": 20.0,
        "allocated_gpus_p95": 28.0, "reclaimable_gpus": 44.0, "reclaimable_usd_per_week": None,
        "expected_memory_gib": None, "measured_memory_gib_p99": None, "observed_hours": 168.0,
    } | given  # fmt: skip


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"verdict": "oversized"},
            (
                "Asked for 64 GPUs, used 20 at the 95th percentile."
                " Lower it: 44 GPUs go back (price: unknown)."
            ),
        ),
        (
            {"verdict": "unused", "reclaimable_usd_per_week": 9.0},
            "Never used. Withdraw it: 64 GPUs go back (9 USD a week).",
        ),
        (
            {"verdict": "undersized", "requested_gpus": 8.0},
            "Holds 28 GPUs, asked for 8. Ask for what is held, or give it back.",
        ),
        (
            {"expected_memory_gib": 20.0, "measured_memory_gib_p99": 40.0},
            "Fits: what was asked for is used. A GPU needs 40 GiB of memory, not 20 GiB.",
        ),
        (
            {"observed_hours": 3.0},
            "Fits: what was asked for is used. Little telemetry yet: judge later.",
        ),
        ({"verdict": "no_data"}, "In force, but telemetry has seen nothing of its pool yet."),
        ({"verdict": "not_in_force", "status": "proposed"}, "Not in force: proposed."),
        ({"verdict": "not_in_force"}, "Not in force: approved, but not begun or over."),
    ],
)
def test_verdict_when_a_request_is_judged_then_in_plain_words(
    given: dict[str, Any], told: str
) -> None:
    assert verdict(request_row(**given)) == told


@pytest.mark.parametrize(
    ("days", "earliest", "latest", "told"),
    [
        (12.0, 9.0, None, "12 days (9 to perhaps never)"),
        (12.0, 9.0, 18.25, "12 days (9 to 18.2)"),
        (0.0, 0.0, 0.0, "full already"),
        (None, 40.0, None, "not in sight (40 days at earliest)"),
        (None, None, None, "not in sight"),
    ],
)
def test_forecast_when_told_then_with_its_band(
    days: float | None, earliest: float | None, latest: float | None, told: str
) -> None:
    row = {
        "trend_gpus_per_day": 1.0,
        "days_to_full": days,
        "days_to_full_earliest": earliest,
        "days_to_full_latest": latest,
    }
    assert forecast(row) == told


def test_forecast_when_there_are_too_few_days_then_it_says_so() -> None:
    assert forecast({"trend_gpus_per_day": None}).startswith("no forecast")


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("waste_gpu_hours", "GPU-hours"), ("unpriced_waste_gpu_hours", "GPU-hours"),
        ("idle_usd", "USD"), ("reclaimable_usd_per_week", "USD a week"), ("used_gpus_p95", "GPUs"),
        ("trend_error_gpus_per_day", "GPUs a day"), ("mem_mib_p99", "MiB"), ("sm_pct_p50", "%"),
        ("measured_memory_gib_p99", "GiB"), ("observed_hours", "hours"), ("trend_days", "days"),
        ("days_to_full_earliest", "days"), ("lost_rows", "rows"), ("verdict", ""),
    ],
)  # fmt: skip
def test_unit_when_a_column_has_one_then_its_name_says_it(column: str, unit: str) -> None:
    assert units.unit_of(column) == unit
