"""Nothing lost, nothing twice: the real processes under faults, and every window against the truth.

`make soak` does the same for longer; see tests/faults.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.store.client import connect
from gpuledger_collector.store.migrate import migrate
from tests.faults.compare import Differences
from tests.faults.inflict import KINDS, ON_DISKS
from tests.faults.run import Run, Settings, begin
from tests.faults.world import World

pytestmark = pytest.mark.timeout(300)
"""The first of them waits for the whole run, which takes half a minute on an idle machine."""

SETTINGS = Settings(seed=20261124, faults=22, hosts=2, gpus=16, pause_s=0.5)

ONE = "(host, gpu, ts) = (SELECT host, gpu, min(ts) FROM gpu_usage WHERE observed_ms = 3000"
ONE += " AND sm_busy_ms > 0 GROUP BY host, gpu ORDER BY host, gpu LIMIT 1)"
"""Of all windows one that was observed from end to end, and worked."""

TABLES = ("gpu_usage_raw", "process_usage_raw", "agent_health_raw", "telemetry_gaps_raw")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("faults")
    with World(directory, SETTINGS.seed, SETTINGS.hosts, SETTINGS.gpus) as running:
        begin(running)
        yield running


@pytest.fixture(scope="module")
def survived(world: World) -> Run:
    """The whole run, after its comparison."""
    run = Run(SETTINGS, world, print)
    run.inflict()
    run.judge()
    return run


@pytest.fixture(scope="module")
def books(world: World, survived: Run) -> Iterator[Client]:  # noqa: ARG001  # as it left them
    with connect(world.books) as client:
        yield client


@pytest.fixture(scope="module")
def copied(world: World, books: Client) -> Iterator[Client]:
    """A copy of the books, to spoil."""
    store = dataclasses.replace(world.books, database="spoiled")
    with connect(store, create_database=True) as client:
        migrate(client)
        yield client
    books.command("DROP DATABASE spoiled SYNC")


@pytest.fixture
def spoiled(world: World, copied: Client) -> Client:
    for table in TABLES:
        copied.command(f"TRUNCATE TABLE {table}")
        copied.command(f"INSERT INTO {table} SELECT * FROM {world.books.database}.{table}")
    return copied


def found(run: Run, client: Client) -> Counter[str]:
    """Differences between these books and the truth of the run."""
    differences = Differences()
    run.compare(client, differences)
    return differences.found


def replace(client: Client, table: str, change: str) -> None:
    """Put a changed copy of one window's rows beside them; of equal key the newer one counts."""
    window = f"SELECT * FROM {table}_raw FINAL WHERE {ONE}"
    client.command(f"INSERT INTO {table}_raw SELECT * REPLACE ({change}) FROM ({window})")


def test_books_when_everything_failed_in_turn_then_they_are_what_the_gpus_did(
    survived: Run, world: World
) -> None:
    result = survived.result
    assert not result.differences.found, result.differences.examples
    assert not result.surprises
    assert result.differences.compared["gpu_usage"] > 50
    assert result.differences.compared["process_usage"] > 50
    assert result.differences.compared["hours"] >= 3
    assert result.inflicted.keys() == {k for k in KINDS if k not in ON_DISKS or world.disks}
    assert result.swallowed


def test_comparison_when_nothing_is_spoiled_then_it_finds_nothing(
    survived: Run, spoiled: Client
) -> None:
    assert not found(survived, spoiled)


@pytest.mark.parametrize("table", ["gpu_usage", "process_usage"])
def test_comparison_when_a_window_is_taken_away_then_it_is_missing(
    survived: Run, spoiled: Client, table: str
) -> None:
    lost = spoiled.query(f"SELECT count() FROM {table} WHERE {ONE}").result_rows[0][0]
    spoiled.command(f"DELETE FROM {table}_raw WHERE {ONE}")
    assert found(survived, spoiled)["missing"] == lost


@pytest.mark.parametrize("table", ["gpu_usage", "process_usage"])
def test_comparison_when_a_window_is_booked_under_two_keys_then_it_is_extra(
    survived: Run, spoiled: Client, table: str
) -> None:
    rows = spoiled.query(f"SELECT count() FROM {table} WHERE {ONE}").result_rows[0][0]
    replace(spoiled, table, "'other' AS cluster")
    assert found(survived, spoiled) == {"extra": rows}


def test_comparison_when_a_window_is_of_no_gpu_then_it_is_extra(
    survived: Run, spoiled: Client
) -> None:
    replace(spoiled, "gpu_usage", "'GPU-node-00-99' AS gpu, 99 AS gpu_index")
    assert found(survived, spoiled) == {"extra": 1}


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("gpu_usage", "observed_ms - 2 AS observed_ms"),
        ("gpu_usage", "sm_busy_ms + 2 AS sm_busy_ms"),
        ("gpu_usage", "unallocated_ms + 2 AS unallocated_ms"),
        ("gpu_usage", "'other' AS gpu_model"),
    ],
)
def test_comparison_when_a_figure_is_off_then_it_is_changed(
    survived: Run, spoiled: Client, table: str, change: str
) -> None:
    replace(spoiled, table, change)
    assert found(survived, spoiled) == {"changed": 1}


@pytest.mark.parametrize(
    "change",
    [
        "held_ms + 4 AS held_ms",
        "present_ms - 4 AS present_ms",
        "sm_busy_ms + 4 AS sm_busy_ms",
        "mem_mib_max + 1 AS mem_mib_max",
        "'nobody' AS team",
        "'other' AS process_name",
    ],
)
def test_comparison_when_a_process_is_booked_wrong_then_it_is_changed(
    survived: Run, spoiled: Client, change: str
) -> None:
    rows = spoiled.query(f"SELECT count() FROM process_usage WHERE {ONE}").result_rows[0][0]
    replace(spoiled, "process_usage", change)
    assert found(survived, spoiled) == {"changed": rows}


def test_comparison_when_a_loss_is_not_told_then_it_is_untold(
    survived: Run, spoiled: Client
) -> None:
    assert spoiled.query("SELECT count() FROM telemetry_gaps").result_rows[0][0]
    spoiled.command("TRUNCATE TABLE telemetry_gaps_raw")
    assert found(survived, spoiled).keys() == {"untold"}
