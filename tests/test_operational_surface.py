"""What a team already operates, counted of fleets that can be counted by hand."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_collector.ledger.requests import BOOK as REQUESTS
from gpuledger_collector.rollup import Rollup
from tests.ledger_fleet import BASE, GPU_MODELS, Row, empty, insert, random_fleet
from tests.random_books import RANDOM_BOOKS
from tests.rule_fleet import END, fill, minutes, request, speech, unheld, work
from tests.slo_books import objective, promise
from tests.traffic_books import served
from tests.traffic_fixture import EVERYTHING

NOW = minutes(2)
"""The two hours that most teams here have been there for."""

LAST = NOW[60]

NOTHING = {
    "models": 0,
    "models_without_traffic": 0,
    "endpoints": 0,
    "endpoints_without_slo": 0,
    "slos": 0,
    "hosts": 0,
    "pools": 0,
    "gpu_models": 0,
    "allocated_gpus": 0,
    "requests_in_force": 0,
    "requested_gpus": 0,
    "proposed_gpus": 0,
    "open_findings": 0,
    "open_findings_usd": None,
    "last_hour": None,
}

ONE = {"hosts": 1, "pools": 1, "gpu_models": 1, "allocated_gpus": 1, "last_hour": LAST}
"""One GPU all the time, and not a word of what it is for."""


def surface(client: Client) -> dict[str, Row]:
    """What each team operates."""
    found = list(client.query("SELECT * FROM operational_surface", tz_mode="aware").named_results())
    assert len({row["team"] for row in found}) == len(found)
    return {row.pop("team"): row for row in found}


def find(client: Client, rule: str, team: str, **given: Any) -> None:
    """Put a verdict into the books."""
    now = datetime.now(END.tzinfo)
    row = {
        "rule": rule, "subject": "it", "team": team, "severity": "warning", "usd": None,
        "first_seen": BASE, "last_seen": now, "evaluated_at": now, "resolved_at": None,
    }  # fmt: skip
    insert(client, "finding_versions", [row | given])


def acknowledge(client: Client, rule: str, until: datetime) -> None:
    """Say that this finding may rest."""
    [(name,)] = client.query(f"SELECT id FROM findings WHERE rule = '{rule}'").result_rows
    insert(client, "finding_acks", [{"id": name, "acked_at": BASE, "until": until}])


def serve(client: Client, *rows: Row) -> None:
    insert(client, "endpoint_traffic_raw", rows)
    rollup = Rollup(client, settle_s=0)
    while rollup.run_once():
        pass


def test_surface_when_there_is_nothing_at_all_then_nobody_operates_anything(client: Client) -> None:
    assert surface(client) == {}


def test_surface_when_a_team_runs_several_things_then_each_is_counted_once(client: Client) -> None:
    trial = {"model": "encoder", "endpoint": "embed", "host": "host-1", "pool": "experiment"}
    fill(
        client,
        [
            *work(NOW, 0),
            *work(NOW, 1),
            *work(NOW[60:], 2, endpoint="suggest"),
            *work(NOW, 0, **trial, gpu_model=GPU_MODELS[1]),
            # Neither a model nor an endpoint, but a GPU.
            *work(NOW, 3, model="", endpoint=""),
        ],
    )
    assert surface(client) == {
        "search": NOTHING
        | {
            "models": 2,
            "endpoints": 3,
            "endpoints_without_slo": 3,
            "hosts": 2,
            "pools": 2,
            "gpu_models": 2,
            "allocated_gpus": 4.5,
            "last_hour": LAST,
        }
    }


def test_surface_when_endpoints_of_two_models_have_one_name_then_they_are_two(
    client: Client,
) -> None:
    fill(client, [*work(NOW, 0, model="ranker"), *work(NOW, 1, model="encoder")])
    found = surface(client)["search"]
    assert (found["models"], found["endpoints"]) == (2, 2)


def test_surface_when_a_host_of_two_clusters_has_one_name_then_it_is_two(client: Client) -> None:
    fill(client, [*work(NOW, 0), *work(NOW, 1, cluster="west")])
    assert surface(client)["search"]["hosts"] == 2


def test_surface_when_gpus_are_granted_and_nothing_runs_then_they_are_operated(
    client: Client,
) -> None:
    fill(client, [], unheld(NOW))
    known = {"models": 1, "endpoints": 1, "endpoints_without_slo": 1}
    assert surface(client) == {"search": NOTHING | ONE | known}


def test_surface_when_a_team_only_asks_then_it_has_a_row_of_its_request(client: Client) -> None:
    over = {"requested_until": END - timedelta(days=1)}
    later = {"requested_from": END + timedelta(days=9)}
    REQUESTS.apply(
        client,
        [
            request("lab", 2),
            request("lab", 3, id="second", model="trial"),
            request("lab", 64, id="next", status="proposed"),
            request("lab", 7, id="past", **over),
            request("new", 8, status="proposed"),
            request("past", 4, **over),
            request("later", 4, **later),
            request("refused", 4, status="rejected"),
        ],
    )
    asked = {"requests_in_force": 2, "requested_gpus": 5, "proposed_gpus": 64}
    assert surface(client) == {"lab": NOTHING | asked, "new": NOTHING | {"proposed_gpus": 8}}


def test_surface_when_a_request_was_changed_then_its_latest_version_counts(client: Client) -> None:
    REQUESTS.apply(client, [request("lab", 2)])
    REQUESTS.apply(client, [request("lab", 5)])
    found = surface(client)["lab"]
    assert (found["requests_in_force"], found["requested_gpus"]) == (1, 5)


def test_surface_when_nobody_owns_work_then_it_is_unattributed(client: Client) -> None:
    fill(client, work(NOW, 0, team="", model="", endpoint=""))
    assert surface(client) == {"unattributed": NOTHING | ONE}


def test_surface_when_a_team_is_renamed_then_both_names_show_until_the_old_one_is_gone(
    client: Client,
) -> None:
    REQUESTS.apply(client, [request("search")])
    REQUESTS.apply(client, [request("find", id="search-request")])
    fill(client, [*work(NOW[:60], team="search"), *work(NOW[60:], team="find")])
    ran = {"models": 1, "endpoints": 1, "endpoints_without_slo": 1, "allocated_gpus": 0.5}
    assert surface(client) == {
        "search": NOTHING | ONE | ran | {"last_hour": NOW[0]},
        "find": NOTHING | ONE | ran | {"requests_in_force": 1, "requested_gpus": 2},
    }


def test_surface_when_work_is_older_than_a_week_then_it_is_operated_no_more(client: Client) -> None:
    old = minutes(1, END - timedelta(days=7, hours=1))
    fill(client, [*work(old, 0, team="gone"), *work(minutes(1, old[-1]), 0), *work(NOW, 1)])
    found = surface(client)
    assert set(found) == {"search"}
    assert found["search"]["allocated_gpus"] == 1


def test_surface_when_findings_differ_then_those_to_be_acted_on_count(client: Client) -> None:
    find(client, "dear", "search", usd=100.5)
    find(client, "cheap", "search", usd=1)
    find(client, "priceless", "search")
    find(client, "gone", "search", usd=1_000, resolved_at=END)
    find(client, "rests", "search", usd=1_000)
    find(client, "rested", "search", usd=10)
    find(client, "priceless", "speech", subject="that")
    find(client, "resting", "quiet")
    find(client, "fleet", "", usd=1_000)
    acknowledge(client, "rests", END + timedelta(days=9))
    acknowledge(client, "resting", END + timedelta(days=9))
    acknowledge(client, "rested", BASE)
    assert surface(client) == {
        "search": NOTHING | {"open_findings": 4, "open_findings_usd": 111.5},
        "speech": NOTHING | {"open_findings": 1},
    }


@pytest.mark.parametrize(
    ("objectives", "slos", "without"),
    [
        ([], 0, 2),
        ([objective()], 1, 0),
        ([objective(model="ranker")], 1, 1),
        ([objective(), objective(model="ranker")], 2, 0),
        ([objective(model="ranker"), objective(model="encoder")], 2, 0),
        ([objective(endpoint="nowhere")], 1, 2),
        ([objective(team="speech")], 0, 2),
        ([objective(valid_until=END - timedelta(days=1))], 0, 2),
        ([objective(valid_from=END + timedelta(days=9))], 0, 2),
        # The one that begins later takes the place of the earlier one, also once it is over.
        ([objective(), objective(valid_from=BASE, percentile=Decimal(99))], 1, 0),
        ([objective(), objective(valid_from=BASE, valid_until=END - timedelta(hours=9))], 0, 2),
        ([objective(), objective(model="ranker", valid_until=END - timedelta(days=1))], 1, 0),
    ],
)
def test_surface_when_endpoints_are_promised_or_not_then_as_attainment_judges_them(
    client: Client, objectives: list[Any], slos: int, without: int
) -> None:
    promise(client, *objectives)
    fill(client, [*work(NOW, 0), *work(NOW, 1, model="encoder")])
    serve(client, *(served(NOW[-1], [200.0], model=m, server=m) for m in ("ranker", "encoder")))
    found = surface(client)["search"]
    assert (found["endpoints"], found["slos"]) == (2, slos)
    assert found["endpoints_without_slo"] == without
    [(judged,)] = client.query(
        "SELECT countIf(outcome = 'no_objective') FROM slo_attainment"
        " WHERE team = 'search' AND hour = (SELECT max(hour) FROM slo_attainment)"
    ).result_rows
    assert judged == without


def test_surface_when_servers_are_asked_or_not_then_models_that_nobody_asks_are_told(
    client: Client,
) -> None:
    models = ("asked", "unasked", "untold", "elsewhere", "trained")
    fill(client, [row for n, model in enumerate(models) for row in work(NOW, n, model=model)])
    serve(
        client,
        served(NOW[0], [200.0], model="asked"),
        served(NOW[-1], model="asked"),
        served(NOW[-1], model="unasked", server="b"),
        served(NOW[-1], model="untold", server="c", offered=EVERYTHING & ~1),
        served(NOW[-1], model="elsewhere", server="d"),
        served(NOW[-1], [200.0], model="elsewhere", server="e", endpoint="other"),
        served(NOW[-1], model="trained", server="f", team="speech"),
    )
    found = surface(client)["search"]
    assert (found["models"], found["models_without_traffic"]) == (5, 1)


def test_surface_when_the_fleet_was_not_observed_all_the_time_then_its_time_is_what_counts(
    client: Client,
) -> None:
    day_before = minutes(1, END - timedelta(days=1))
    fill(client, [*work(NOW, 0), *work(day_before[:30], 1), *speech(day_before[:30])])
    found = surface(client)
    assert found["search"]["allocated_gpus"] == pytest.approx(1)
    assert found["speech"]["allocated_gpus"] == pytest.approx(0.2)


@settings(RANDOM_BOOKS, max_examples=5)
@given(rng=st.randoms(use_true_random=False))
def test_surface_when_a_fleet_is_random_then_it_is_what_its_rows_say(
    client: Client, rng: random.Random
) -> None:
    empty(client)
    fleet = random_fleet(rng)
    for table, rows in fleet.rows.items():
        insert(client, table, rows)
    rollup = Rollup(client, settle_s=0)
    while rollup.run_once():
        pass
    truth: dict[str, dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
    for row in (*fleet.rows["process_usage_raw"], *fleet.rows["gpu_allocation_raw"]):
        told = truth[row["team"] or "unattributed"]
        told["hosts"].add((row["cluster"], row["host"]))
        told["pools"].add(row["pool"])
        told["gpu_models"].add(row["gpu_model"])
        told["models"].update({row["model"]} - {""})
        told["endpoints"].update({(row["endpoint"], row["model"])} if row["endpoint"] else ())
    found = surface(client)
    assert set(found) == set(truth)
    for team, told in truth.items():
        assert {name: found[team][name] for name in told} == {n: len(s) for n, s in told.items()}
    spans = client.query(
        "SELECT dateDiff('second', min(first_seen), max(last_seen)) FROM capacity_hourly"
        " GROUP BY hour"
    ).result_rows
    allocated = sum(books.allocated for books in fleet.owners().values())
    mean = sum(row["allocated_gpus"] for row in found.values())
    assert mean * 1000 * sum(s for (s,) in spans) == pytest.approx(allocated)
