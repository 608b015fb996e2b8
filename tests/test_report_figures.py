"""Every figure of a review is what the books say, and its SQL says so too, as printed."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import Request, urlopen

import pytest
from click.testing import CliRunner
from clickhouse_connect.driver.client import Client

from gpuledger_collector.cli import cli
from gpuledger_collector.report import queries
from gpuledger_collector.report.period import Period
from gpuledger_collector.rollup import Rollup
from gpuledger_collector.store.client import StoreConfig
from tests.ledger_fleet import BASE, insert, process
from tests.review_fleet import BEFORE, FORMULA, HOSTILE, HOURS, PERIOD, SINCE, Books
from tests.rule_fleet import END, fill, work
from tests.slo_books import objective, promise
from tests.traffic_books import served

HEADERS = {"Content-Type": "text/plain"}
SETTINGS = (
    "readonly=2&default_format=JSONEachRow&date_time_output_format=iso"
    "&output_format_json_quote_64bit_integers=0"
)


def reviewed(store: StoreConfig, *arguments: str) -> dict[str, Any]:
    flags = ("--clickhouse-url", store.url, "--database", store.database)
    done = CliRunner().invoke(cli, ["report", "--format", "json", *flags, *arguments])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def report(review_books: Books) -> dict[str, Any]:
    return reviewed(review_books.store, *PERIOD)


def rows(report: dict[str, Any], section: str, **keys: object) -> list[dict[str, Any]]:
    return [
        row
        for row in report["sections"][section]["rows"]
        if all(row[key] == value for key, value in keys.items())
    ]


def one(report: dict[str, Any], section: str, **keys: object) -> dict[str, Any]:
    [row] = rows(report, section, **keys)
    return row


def stages(row: dict[str, Any]) -> list[float]:
    names = ("requested", "allocated", "held", "active", "busy")
    return [row[f"{name}_gpu_hours"] / HOURS for name in names]


def causes(row: dict[str, Any], unit: str) -> list[float | None]:
    names = ("unclaimed", "idle", "underused", "waste")
    known = [row[f"{name}_{unit}"] for name in names]
    return [None if figure is None else figure / HOURS for figure in known]


def test_funnel_when_the_truth_is_known_then_each_stage_is_it_in_both_periods(
    report: dict[str, Any],
) -> None:
    assert stages(one(report, "books", level="all", period="this")) == pytest.approx(
        [5, 5, 4, 3, 1.5]
    )
    assert stages(one(report, "books", level="all", period="previous")) == pytest.approx(
        [0, 1, 1, 1, 1]
    )


def test_waste_when_the_truth_is_known_then_it_is_told_by_cause_and_team_in_hours_and_money(
    report: dict[str, Any],
) -> None:
    search = one(report, "books", level="team", period="this", team="search")
    assert causes(search, "gpu_hours") == pytest.approx([1, 1, 1, 3])
    assert causes(search, "usd") == pytest.approx([2, 2, 2, 6])
    before = one(report, "books", level="team", period="previous", team="search")
    assert causes(before, "gpu_hours") == pytest.approx([0, 0, 0, 0])
    hostile = one(report, "books", level="team", period="this", team=HOSTILE)
    assert causes(hostile, "gpu_hours") == pytest.approx([0, 1, 0, 1])
    assert causes(hostile, "usd") == pytest.approx([0, 2, 0, 2])
    speech = one(report, "books", level="team", period="this", team="speech")
    assert causes(speech, "gpu_hours") == pytest.approx([0, 0, 0.5, 0.5])


def test_waste_when_no_price_is_known_then_its_money_is_null_and_its_hours_are_told_apart(
    report: dict[str, Any],
) -> None:
    speech = one(report, "books", level="team", period="this", team="speech")
    assert causes(speech, "usd") == [None] * 4
    assert speech["unpriced_waste_gpu_hours"] == pytest.approx(0.5 * HOURS)
    whole = one(report, "books", level="all", period="this")
    assert whole["waste_usd"] == pytest.approx(8 * HOURS)
    assert whole["unpriced_waste_gpu_hours"] == pytest.approx(1.5 * HOURS)


def test_requests_when_one_is_too_large_then_what_could_go_back_and_its_price(
    report: dict[str, Any],
) -> None:
    search = one(report, "requests", id="search-request")
    assert (search["verdict"], search["requested_gpus"]) == ("oversized", 4)
    assert (search["used_gpus_p95"], search["reclaimable_gpus"]) == (2, 2)
    assert search["reclaimable_usd_per_week"] == pytest.approx(2 * 2 * 168)
    assert one(report, "requests", id="idle-yet-request")["verdict"] == "unused"
    assert one(report, "requests", id="idle-yet-request")["reclaimable_usd_per_week"] is None
    assert one(report, "requests", id="search-later")["verdict"] == "not_in_force"


def test_surface_when_teams_run_and_ask_then_what_each_operates_is_told(
    report: dict[str, Any],
) -> None:
    told = {row["team"]: row for row in rows(report, "surface")}
    assert set(told) == {"search", "speech", HOSTILE, "idle-yet"}
    names = ("endpoints", "endpoints_without_slo", "requested_gpus", "proposed_gpus")
    assert [told["search"][name] for name in names] == [1, 0, 4, 9]
    assert [told[HOSTILE][name] for name in names] == [1, 1, 0, 0]
    assert (told["idle-yet"]["requests_in_force"], told["idle-yet"]["last_hour"]) == (1, None)


def test_coverage_when_a_host_lost_an_hour_half_in_the_period_then_that_half_is_unobserved(
    report: dict[str, Any],
) -> None:
    for period in ("this", "previous"):
        parts = rows(report, "coverage", period=period)
        assert sum(r["unobserved_gpu_hours"] for r in parts) == pytest.approx(2 * 0.5)
    gap = one(report, "gaps", host="host-0")
    assert (gap["reason"], gap["missing_hours"], gap["lost_rows"]) == ("disk", 0.5, 7)
    assert one(report, "hours", period="this") == {"period": "this", "observed_hours": HOURS}


def test_slo_when_it_is_missed_with_headroom_then_tuning_is_the_verdict(
    report: dict[str, Any],
) -> None:
    search = one(report, "slo", team="search")
    assert (search["verdict"], search["hours_missed"], search["hours_judged"]) == ("tune", 4, 4)
    assert (search["attainment_pct_high"], search["target_attainment_pct"]) == (0, 99)
    assert (search["target_latency_ms"], search["missed_load_pct"]) == (1000, 50)
    assert one(report, "slo", team=HOSTILE)["verdict"] == "no_objective"


def test_slo_when_the_period_is_a_day_then_it_is_that_of_the_daily_view(
    client: Client, database: StoreConfig
) -> None:
    promise(client, objective())
    fast, slow = served(BASE, [200.0]), served(BASE + timedelta(hours=1), [1_700.0])
    insert(client, "endpoint_traffic_raw", [fast, slow])
    insert(client, "process_usage_raw", [process(BASE + timedelta(hours=n)) for n in range(2)])
    rollup = Rollup(client, settle_s=0)
    while rollup.run_once():
        pass
    day = f"{BASE:%Y-%m-%d}"
    told = one(reviewed(database, "--since", day, "--until", day), "slo")
    [daily] = client.query("SELECT * FROM scaling_verdict").named_results()
    for name in told.keys() & daily.keys():
        assert told[name] == daily[name], name
    assert (told["verdict"], told["hours_met"], told["hours_missed"]) == ("tune", 1, 1)


def test_findings_when_they_come_go_and_rest_then_each_is_told_as_what_became_of_it(
    report: dict[str, Any],
) -> None:
    told = {
        (row["rule"], row["team"], row["state_then"], row["is_new"], row["is_acknowledged"])
        for row in rows(report, "findings")
    }
    alone = "usage_without_request"
    assert told == {
        ("telemetry_gap", "", "open", 0, 0),
        (alone, "speech", "open", 1, 0),
        (alone, "speech", "resolved", 0, 0),
        (alone, "search", "open", 1, 0),
        (alone, "search", "resolved", 0, 0),
        (alone, HOSTILE, "open", 1, 1),
        (alone, HOSTILE, "resolved", 0, 0),
    }


def test_report_when_of_one_team_then_no_figure_of_the_books_is_of_another(
    review_books: Books,
) -> None:
    report = reviewed(review_books.store, *PERIOD, "--team", "search")
    assert stages(one(report, "books", level="all", period="this")) == pytest.approx(
        [4, 3, 2, 2, 1]
    )
    assert {row["team"] for row in rows(report, "books", level="model")} == {"search"}
    for section in ("requests", "surface", "profiles", "findings"):
        assert {row["team"] for row in rows(report, section)} == {"search"}, section


@pytest.mark.parametrize("team", ["", HOSTILE])
def test_sql_when_run_as_printed_then_it_gives_the_figures(review_books: Books, team: str) -> None:
    report = reviewed(review_books.store, *PERIOD, *(("--team", team) if team else ()))
    for name, section in report["sections"].items():
        assert as_printed(review_books.store, section["sql"]) == section["rows"], name
    assert {name for name, s in report["sections"].items() if s["rows"]} >= {
        "books", "profiles", "slo", "headroom", "findings",
        "coverage", "gaps", "hours", "horizon",
    }  # fmt: skip


def as_printed(store: StoreConfig, sql: str) -> list[dict[str, Any]]:
    """What ClickHouse itself answers, no driver of ours between."""
    url = f"{store.url}/?database={store.database}&{SETTINGS}"
    with urlopen(Request(url, sql.encode(), HEADERS)) as answer:
        lines = answer.read().decode().splitlines()
    return [json.loads(line) for line in lines]


def test_sql_when_read_then_it_asks_public_views_alone(client: Client) -> None:
    views = {
        row[0]
        for row in client.query(
            "SELECT name FROM system.tables WHERE engine = 'View' AND database = currentDatabase()"
        ).result_rows
    }
    for query in queries.load():
        own = set(re.findall(r"(\w+) AS\s+\(", query.sql))
        asked = set(re.findall(r"(?:FROM|JOIN)\s+(\w+)", query.sql))
        assert asked - own <= views, query.name


def test_sql_when_a_team_has_quotes_and_backslashes_then_it_stays_one_literal(
    client: Client,
) -> None:
    for text in ("it's", "\\'; DROP TABLE x --", "\\", "tab\there", "é\x00\u202e", "{until:UInt8}"):
        [(read,)] = client.query(f"SELECT {queries.literal(text)}").result_rows
        assert read == text
    printed = queries.parse("x", "-- title = 't'\n-- keys = []\nSELECT {team:String}").printed(
        Period(SINCE, END), "{until:UInt8}"
    )
    assert printed == "SELECT '{until:UInt8}'"


def test_profiles_when_the_period_is_a_day_then_they_are_those_of_the_daily_view(
    client: Client, database: StoreConfig
) -> None:
    times = [BASE + timedelta(minutes=minute) for minute in range(180)]
    swinging = [
        row | {"mem_mib_mean": 1000 * (1 + minute % 40), "mem_mib_max": 45_000}
        for minute, row in enumerate(work(times))
    ]
    fill(client, [*swinging, *work(times[:50], 1), *work(times, 2, team="", sm_busy_ms=0)])
    day = f"{BASE:%Y-%m-%d}"
    report = reviewed(database, "--since", day, "--until", day)
    for row in rows(report, "profiles"):
        columns = ", ".join(report["sections"]["profiles"]["rows"][0])
        [(*expected,)] = client.query(
            f"SELECT {columns} FROM resource_profile WHERE day = '{day}'"
            f" AND team = {queries.literal(row['team'])}"
        ).result_rows
        assert list(row.values()) == pytest.approx(expected)
    assert {row["team"] for row in rows(report, "profiles")} == {"search", "unattributed"}


def test_steps_when_the_present_hour_is_not_whole_then_it_is_left_out(
    client: Client, database: StoreConfig
) -> None:
    present = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    fill(client, work([present - timedelta(minutes=m) for m in range(61, 0, -1)]))
    late = work([present + timedelta(minutes=m) for m in range(3)])
    insert(client, "process_usage_raw", late)
    Rollup(client, settle_s=0).run_once()
    steps = rows(reviewed(database, "--since", "3h"), "books", level="step")
    assert [row["from"] for row in steps] == [
        f"{present - timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for hours in (2, 1)
    ]
    assert [steps[-1][name] for name in ("hours", "allocated_gpu_hours")] == [1, 1]


def test_previous_when_the_period_moves_on_then_it_ends_where_this_one_begins(
    report: dict[str, Any],
) -> None:
    said = {name: report[name] for name in ("previous_since", "since", "until")}
    assert said == {
        "previous_since": f"{BEFORE:%Y-%m-%dT%H:%M:%SZ}",
        "since": f"{SINCE:%Y-%m-%dT%H:%M:%SZ}",
        "until": f"{END:%Y-%m-%dT%H:%M:%SZ}",
    }


def test_books_when_summed_by_team_model_or_step_then_each_is_the_whole(
    report: dict[str, Any],
) -> None:
    for period in ("this", "previous"):
        whole = one(report, "books", level="all", period=period)
        for level in ("team", "model", "step"):
            parts = rows(report, "books", level=level, period=period)
            for name in ("requested", "allocated", "busy", "unclaimed", "idle", "waste"):
                column = f"{name}_gpu_hours"
                total = sum(part[column] for part in parts)
                assert total == pytest.approx(whole[column]), (period, level, column)
    assert {row["from"] is None for row in rows(report, "books", level="step")} == {False}
    assert {row["from"] for row in rows(report, "books", level="team")} == {None}


def test_traffic_when_the_truth_is_known_then_shares_of_requests_stand_beside_those_of_gpus(
    report: dict[str, Any],
) -> None:
    told = rows(report, "traffic")
    assert [(row["model"], row["rank"], row["requests"]) for row in told] == [
        ("ranker", 1, 2 * 60 * HOURS), (FORMULA, 2, 60 * HOURS),
    ]  # fmt: skip
    names = ("request_share_pct", "gpu_share_pct")
    assert [[row[name] for name in names] for row in told] == [
        pytest.approx([200 / 3, 75]), pytest.approx([100 / 3, 25]),
    ]  # fmt: skip
    assert told[-1]["cumulative_request_share_pct"] == pytest.approx(100)
    assert told[-1]["cumulative_gpu_share_pct"] == pytest.approx(100)
    assert told[0]["allocated_gpu_hours"] == pytest.approx(3 * HOURS)
