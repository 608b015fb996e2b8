"""The public views as others build on them: their names, what a row is, and columns.

Dashboards and the SQL of strangers name these. Columns may come; whoever renames one, or lets a
row be of something else, breaks what others built, and says so in CHANGELOG.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.store.client import connect
from tests.packaged_clickhouse import ROLES
from tests.review_fleet import Books

SQL_PAGE = (Path(__file__).parent.parent / "docs" / "sql.md").read_text()

LEDGER = (
    "requested_gpu_hours allocated_gpu_hours active_gpu_hours busy_gpu_hours unclaimed_gpu_hours"
    " idle_gpu_hours underused_gpu_hours waste_gpu_hours"
)
WASTE = f"{LEDGER} requested_gib_hours allocated_gib_hours used_gib_hours waste_usd"

CONTRACT = {
    "ledger_hourly": (
        "hour cluster pool team model endpoint gpu_model",
        f"{LEDGER} held_gpu_hours waste_usd",
    ),
    "ledger_balance": (
        "hour cluster pool gpu_model",
        (
            "capacity_gpu_hours unallocated_gpu_hours idle_gpu_hours underused_gpu_hours"
            " busy_gpu_hours difference_gpu_hours"
        ),
    ),
    "waste_by_team": ("day team", WASTE),
    "waste_by_model": ("day team model", WASTE),
    "resource_profile": (
        "day team model endpoint pool gpu_model",
        (
            "mem_mib_min mem_mib_p50 mem_mib_p95 mem_mib_p99 mem_mib_max"
            " sm_pct_min sm_pct_p50 sm_pct_p95 sm_pct_p99 sm_pct_max"
            " used_gpus_p50 used_gpus_p95 used_gpus_max"
        ),
    ),
    "request_review": (
        "id",
        (
            "requested_gpus allocated_gpus_p95 used_gpus_p95 expected_sm_pct measured_sm_pct"
            " reclaimable_gpus verdict"
        ),
    ),
    "idle_allocations": (
        "cluster host gpu workload_kind workload",
        "allocated_since idle_since idle_hours idle_usd",
    ),
    "isolation_violations": ("hour cluster host gpu", "host_pool shares pools teams"),
    "unattributed_usage": ("cluster host process_name user pool", "allocated_gpu_hours"),
    "traffic_concentration": (
        "day model",
        "requests request_share_pct cumulative_request_share_pct gpu_share_pct",
    ),
    "consolidation_candidates": (
        "pool gpu_model team model",
        "gpus_now mem_mib_p99 sm_pct_p95 pool_gpus_needed saved_gpus",
    ),
    "slo_attainment": (
        "hour team model endpoint",
        "inside_pct target_latency_ms target_percentile served_rps target_rps",
    ),
    "scaling_verdict": ("day team model endpoint", "verdict load_pct_mean"),
    "pool_headroom": (
        "hour pool gpu_model",
        "capacity_gpus requested_gpus allocated_gpus used_gpus trend_gpus_per_day days_to_full",
    ),
    "operational_surface": ("team", "endpoints models hosts open_findings"),
    "open_findings": (
        "id",
        "rule subject severity team pool usd evidence first_seen last_seen",
    ),
}
"""View -> what makes a row (one row for each), and what it says of that."""

NOT_THERE = {
    "isolation_violations", "unattributed_usage", "consolidation_candidates",
}  # fmt: skip
"""Of which the books of the review have nothing."""

each_view = pytest.mark.parametrize("view", CONTRACT)


@each_view
def test_view_when_asked_for_its_contract_then_it_has_every_column(
    client: Client, view: str
) -> None:
    there = {row[0] for row in client.query(f"DESCRIBE {view}").result_rows}
    assert set(" ".join(CONTRACT[view]).split()) - there == set()


@each_view
def test_view_when_there_are_books_then_each_row_is_of_one_thing(
    review_books: Books, view: str
) -> None:
    key = ", ".join(CONTRACT[view][0].split())
    with connect(review_books.store) as client:
        [(rows, things)] = client.query(f"SELECT count(), uniqExact({key}) FROM {view}").result_rows
    assert rows == things
    assert (rows > 0) == (view not in NOT_THERE)


@each_view
def test_view_when_it_is_public_then_readers_may_ask_it_and_the_page_tells_of_it(view: str) -> None:
    assert f"GRANT SELECT ON gpuledger.{view} TO gpuledger_reader;" in ROLES
    assert f"`{view}`" in SQL_PAGE
