"""`gpuledger plan`: what a request would do to a pool whose hours are known."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from gpuledger_collector.cli import cli
from gpuledger_collector.store.client import StoreConfig
from tests.headroom_fleet import TODAY, fill_hours
from tests.ledger_fleet import GPU_MODELS, gpu, insert
from tests.test_ledger_views import fill, grant, process, request, windows
from tests.test_pool_headroom import days_ago

H100 = ("--pool", "production", "--gpu-model", "h100")


def plan(store: StoreConfig, *arguments: str) -> Result:
    options = ["--clickhouse-url", store.url, "--database", store.database]
    return CliRunner().invoke(cli, ["plan", *arguments, *options])


def planned(store: StoreConfig, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    result = plan(store, *arguments, "--format", "json")
    assert result.exit_code in {0, 1}, result.output
    return result.exit_code, json.loads(result.stdout)


def ask(client: Client, name: str, gpus: float, **given: Any) -> None:
    """A request that counts all the time."""
    start = TODAY - timedelta(days=60)
    request(client, name, gpus, applied_at=start, requested_from=start, **given)


def test_plan_when_it_fits_then_headroom_and_days_before_and_after(
    client: Client, database: StoreConfig
) -> None:
    fill_hours(client, lambda hour: 70 - 0.5 * days_ago(hour))
    ask(client, "standing", 40)
    code, [told] = planned(database, "--gpus", "20", *H100)
    assert code == 0
    assert [(item["name"], item["gpus"]) for item in told.pop("waste")] == [("standing", 40)]
    assert told == {
        "pool": "production",
        "gpu_model": GPU_MODELS[0],
        "capacity_gpus": 100,
        "requested_gpus": 40,
        "allocated_gpus": pytest.approx(70),
        "asked_gpus": 20,
        "headroom_before": pytest.approx(30),
        "headroom_after": pytest.approx(10),
        "days_to_full_before": pytest.approx(60, rel=1e-4),
        "days_to_full_after": pytest.approx(20, rel=1e-4),
        "earliest_after": pytest.approx(20, rel=1e-4),
        "latest_after": pytest.approx(20, rel=1e-4),
        "fits": True,
        "covered_gpus": 40,
    }


def test_plan_when_more_is_promised_than_allocated_then_the_promise_counts(
    client: Client, database: StoreConfig
) -> None:
    fill_hours(client, lambda _: 10, days=1)
    ask(client, "standing", 90)
    assert planned(database, "--gpus", "10", *H100)[0] == 0
    assert planned(database, "--gpus", "10.5", *H100)[0] == 1


def test_plan_when_it_does_not_fit_then_the_waste_that_would_cover_it_is_told_once(
    client: Client, database: StoreConfig
) -> None:
    rows = [process(ts, gpu=f"GPU-{n}") for n in range(2) for ts in windows(720)]
    idle = [grant(ts, gpu=f"GPU-{n}", workload="mine") for n in (2, 3) for ts in windows(720)]
    idle += [grant(ts, gpu="GPU-4", team="speech", workload="theirs") for ts in windows(720)]
    request(client, "wide", 5)
    fill(client, rows, idle)
    code, [told] = planned(database, "--gpus", "3", *H100)
    assert code == 1
    assert (told["headroom_before"], told["headroom_after"]) == (0, -3)
    found = [(w["kind"], w["name"], w["gpus"], w["within"]) for w in told["waste"]]
    assert found == [
        ("request", "wide", 3, ""),
        ("idle", "mine", 2, "wide"),
        ("idle", "theirs", 1, ""),
    ]
    assert told["covered_gpus"] == 4
    _, [own] = planned(database, "--gpus", "3", *H100, "--team", "speech")
    assert [w["name"] for w in own["waste"]] == ["theirs", "wide", "mine"]
    table = plan(database, "--gpus", "3", *H100)
    assert table.exit_code == 1
    assert "short of 3 GPUs; waste that could be had back: 4" in table.stdout


def test_plan_when_it_fits_and_there_is_waste_then_that_is_told_too(
    client: Client, database: StoreConfig
) -> None:
    idle = [grant(ts, gpu=f"GPU-{n}", workload="mine") for n in range(2) for ts in windows(720)]
    free = [gpu(ts, gpu="GPU-9", unallocated_ms=10_000, sm_busy_ms=0) for ts in windows(720)]
    insert(client, "gpu_usage_raw", free)
    fill(client, [], idle)
    code, [told] = planned(database, "--gpus", "1", *H100)
    assert (code, told["fits"], told["covered_gpus"]) == (0, True, 2)
    table = plan(database, "--gpus", "1", *H100)
    assert "fits; waste that could be had back: 2" in table.stdout


def test_plan_when_the_trend_is_unsure_then_the_earliest_and_the_latest_day_after(
    client: Client, database: StoreConfig
) -> None:
    fill_hours(client, lambda hour: 70 - 0.5 * days_ago(hour) + 2 * (-1) ** days_ago(hour))
    _, [told] = planned(database, "--gpus", "20", *H100)
    [(slope, error)] = client.query(
        "SELECT DISTINCT trend_gpus_per_day, trend_error_gpus_per_day FROM pool_headroom"
    ).result_rows
    left = 100 - told["allocated_gpus"] - 20
    assert error > 0
    assert told["earliest_after"] == pytest.approx(left / (slope + 2 * error))
    assert told["latest_after"] == pytest.approx(left / (slope - 2 * error))


def test_plan_when_a_file_changes_a_request_then_only_the_difference_counts(
    client: Client, database: StoreConfig, tmp_path: Path
) -> None:
    fill_hours(client, lambda _: 0, days=1)
    ask(client, "a", 80, gpu_model="H100")
    ask(client, "b", 15)
    path = tmp_path / "requests.yaml"
    entry = "  - {id: %s, team: search, pool: production, gpus: %s, from: 2026-01-01%s}\n"
    path.write_text("requests:\n" + entry % ("a", 85, ", gpu_model: H100"))
    code, [told] = planned(database, "--what-if", str(path))
    assert (code, told["asked_gpus"], told["headroom_after"]) == (0, 5, 0)
    path.write_text("requests:\n" + entry % ("c", 15, ", status: proposed"))
    assert planned(database, "--what-if", str(path))[0] == 1
    withdrawn = path.read_text() + entry % ("b", 15, ", status: withdrawn")
    path.write_text(withdrawn)
    assert planned(database, "--what-if", str(path)) == (0, [])


def test_plan_when_several_models_fit_then_it_goes_where_room_is(
    client: Client, database: StoreConfig
) -> None:
    fill_hours(client, lambda _: 25, capacity=30, days=1)
    fill_hours(client, lambda _: 0, capacity=10, days=1, gpu_model=GPU_MODELS[1])
    code, told = planned(database, "--gpus", "12", "--pool", "production")
    assert code == 0
    assert [(row["gpu_model"], row["asked_gpus"]) for row in told] == [
        (GPU_MODELS[0], 2),
        (GPU_MODELS[1], 10),
    ]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--pool", "nowhere"], "pool 'nowhere' is not known; known are 'production', 'staging'"),
        ([], "no pool is given; known are 'production', 'staging'"),
        (
            ["--pool", "staging", "--gpu-model", "H100"],
            f"pool 'staging' has no GPU 'H100'; it has {GPU_MODELS[1]!r}",
        ),
    ],
)
def test_plan_when_the_books_know_no_such_gpu_then_it_does_not_fit_and_those_they_know_are_told(
    client: Client, database: StoreConfig, asked: list[str], said: str
) -> None:
    fill_hours(client, lambda _: 0, days=1)
    fill_hours(client, lambda _: 0, days=1, pool="staging", gpu_model=GPU_MODELS[1])
    table = plan(database, "--gpus", "1", *asked)
    assert (table.exit_code, table.stderr) == (1, f"{said}\n")
    assert "short of" not in table.stdout
    result = plan(database, "--gpus", "1", *asked, "--format", "json")
    assert (result.exit_code, result.stderr) == (1, f"{said}\n")
    [told] = json.loads(result.stdout)
    assert (told["capacity_gpus"], told["fits"]) == (0, False)


def test_plan_when_the_books_know_no_gpu_at_all_then_that_is_told(database: StoreConfig) -> None:
    result = plan(database, "--gpus", "1", "--pool", "production")
    assert result.exit_code == 1
    assert result.stderr == "no GPU is known yet: do agents report? (gpuledger-agent check)\n"


def test_plan_when_an_unknown_pool_gives_back_then_nothing_is_said(
    client: Client, database: StoreConfig, tmp_path: Path
) -> None:
    fill_hours(client, lambda _: 0, days=1)
    ask(client, "gone", 8, pool="nowhere")
    path = tmp_path / "requests.yaml"
    path.write_text(
        "requests:\n  - {id: gone, team: search, pool: nowhere, gpus: 8, from: 2026-01-01,"
        " status: withdrawn}\n"
    )
    result = plan(database, "--what-if", str(path))
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [[], ["--gpus", "1", "--what-if", "x.yaml"]])
def test_plan_when_it_is_not_clear_what_is_asked_then_exit_code_2(
    database: StoreConfig, arguments: list[str]
) -> None:
    result = plan(database, *arguments)
    assert result.exit_code == 2
    assert "give either --what-if FILE or --gpus N" in result.stderr
