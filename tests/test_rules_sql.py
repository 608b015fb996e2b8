"""Each rule finds what it is for, and nothing else does; a healthy fleet raises nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector.ledger import findings, rules
from tests.rule_fleet import (
    END,
    GIB,
    ask,
    fill,
    healthy,
    introduce,
    minutes,
    report,
    request,
    speech,
    unheld,
    work,
)

BOTH = (request("search"), request("speech"))
WEEK_H = 168


def judging(rule: rules.Rule, hours: float) -> rules.Rule:
    """The rule with so many hours of telemetry to judge by."""
    thresholds = [
        replace(threshold, value=hours) if threshold.name == "min_observed_hours" else threshold
        for threshold in rule.thresholds
    ]
    return replace(rule, thresholds=tuple(thresholds))


HOURS = 4
RULES = [judging(rule, HOURS) for rule in rules.built_in()]
"""Content with so many hours of telemetry."""


def evaluate(client: Client, *names: str) -> list[dict[str, Any]]:
    """All open findings as of END, after these rules, else all, were evaluated without failing."""
    outcomes = findings.evaluate(client, [r for r in RULES if not names or r.name in names], END)
    assert len(outcomes) == (len(names) or len(RULES))
    assert [o for o in outcomes if o.error] == []
    return list(client.query("SELECT * FROM open_findings").named_results())


def only(client: Client, rule: str) -> dict[str, Any]:
    """The one open finding, which is of this rule."""
    found = evaluate(client)
    assert [(row["rule"], row["subject"]) for row in found] == [(rule, found[0]["subject"])]
    return found[0]


def test_rules_when_the_fleet_is_healthy_then_nothing_is_found(client: Client) -> None:
    ask(client, *BOTH)
    fill(client, healthy(HOURS))
    assert evaluate(client) == []


def test_rules_when_there_is_nothing_at_all_then_nothing_is_found(client: Client) -> None:
    assert evaluate(client) == []


def test_over_provisioned_when_64_are_asked_for_and_2_used_then_62_and_their_price(
    client: Client,
) -> None:
    ask(client, request("search", gpus=64), request("speech"))
    fill(client, healthy(HOURS))
    found = only(client, "over_provisioned_request")
    assert (found["subject"], found["team"]) == ("search-request", "search")
    assert (found["pool"], found["severity"]) == ("production", "warning")
    assert found["evidence"]["reclaimable_gpus"] == "62"
    assert found["evidence"]["used_gpus_p95"] == "2"
    assert found["usd"] == pytest.approx(62 * 2 * WEEK_H)


def test_over_provisioned_when_one_of_twenty_is_unused_then_the_reserve_is_granted(
    client: Client,
) -> None:
    ask(client, request("search", gpus=20))
    fill(client, [row for n in range(19) for row in work(minutes(HOURS), n)])
    assert evaluate(client, "over_provisioned_request") == []


def test_over_provisioned_when_it_was_watched_for_long_enough_then_it_is_judged(
    client: Client,
) -> None:
    ask(client, request("search", gpus=4))
    fill(client, work(minutes(HOURS - 1)))
    assert evaluate(client, "over_provisioned_request") == []
    fill(client, work(minutes(1, END - timedelta(hours=HOURS - 1))))
    assert only(client, "over_provisioned_request")["evidence"]["observed_hours"] == f"{HOURS}"


def test_idle_when_a_replica_never_works_then_its_host_workload_and_cost(client: Client) -> None:
    ask(client, BOTH[0])
    held = work(minutes(9), 2, workload="notebook", sm_busy_ms=0)
    granted = unheld(minutes(9), gpu="GPU-9", workload="notebook")
    fill(client, [*(row for n in range(2) for row in work(minutes(9), n)), *held], granted)
    found = only(client, "idle_allocation")
    assert (found["subject"], found["team"]) == ("east/host-0 container notebook", "search")
    assert {k: found["evidence"][k] for k in ("gpus", "idle_hours", "ever_worked")} == {
        "gpus": "2",
        "idle_hours": "9",
        "ever_worked": "no",
    }
    assert found["usd"] == pytest.approx(2 * 2 * WEEK_H)


def test_idle_when_the_work_stopped_less_than_eight_hours_ago_then_nothing_yet(
    client: Client,
) -> None:
    ask(client, *BOTH)
    times = minutes(12)
    worked = work(times[: -8 * 60 + 1]) + work(times[-8 * 60 + 1 :], sm_busy_ms=0)
    fill(client, worked)
    assert evaluate(client, "idle_allocation") == []


def test_experiment_when_it_runs_beside_production_then_who_and_beside_whom(
    client: Client,
) -> None:
    tuning = {"team": "research", "model": "tune", "pool": "experiment", "workload": "tune"}
    asked = request("research", gpus=1, pool="experiment")
    ask(client, *BOTH, asked)
    fill(client, [*healthy(HOURS), *work(minutes(4), 7, **tuning)])
    found = only(client, "experiment_on_production")
    assert (found["subject"], found["team"]) == ("research (experiment) in east", "research")
    assert (found["pool"], found["severity"]) == ("production", "critical")
    assert found["evidence"]["gpu_hours"] == "4"
    assert found["evidence"]["shares_hosts_with"] == "search"
    assert found["usd"] == pytest.approx(4 * 2 * 7)


def test_experiment_when_it_stays_in_its_own_pool_then_nothing(client: Client) -> None:
    own = {"host": "host-5", "host_pool": "experiment", "pool": "experiment", "team": "research"}
    ask(client, *BOTH, request("research", gpus=1, pool="experiment"))
    fill(client, [*healthy(HOURS), *work(minutes(4), 0, **own)])
    assert evaluate(client, "experiment_on_production") == []


def test_without_request_when_nobody_asked_then_team_model_and_price(client: Client) -> None:
    ask(client, BOTH[0])
    fill(client, healthy(HOURS))
    found = only(client, "usage_without_request")
    assert (found["subject"], found["team"]) == ("speech encoder in production", "speech")
    assert found["evidence"]["gpu_hours"] == "8"
    assert found["usd"] == pytest.approx(8 * 2 * 7)


def test_without_request_when_a_few_minutes_are_used_then_nothing(client: Client) -> None:
    ask(client, BOTH[0])
    fill(client, [*work(minutes(2)), *work(minutes(2), 1), *speech(minutes(0.5))])
    assert evaluate(client, "usage_without_request") == []


def test_expired_when_the_work_goes_on_then_the_request_is_named_and_no_other_rule_speaks(
    client: Client,
) -> None:
    over = END - timedelta(hours=3)
    ask(client, BOTH[0], request("speech", requested_until=over))
    fill(client, healthy(HOURS))
    found = only(client, "expired_request_in_use")
    assert (found["subject"], found["team"]) == ("speech-request", "speech")
    assert found["evidence"]["ended_at"] == f"{over:%Y-%m-%d %H:%M:%S}"
    assert found["evidence"]["gpu_hours"] == "6"


def test_expired_when_it_ends_inside_an_hour_then_that_hour_is_still_its_own(
    client: Client,
) -> None:
    over = END - timedelta(hours=2, minutes=30)
    ask(client, BOTH[0], request("speech", requested_until=over))
    fill(client, healthy(HOURS))
    assert only(client, "expired_request_in_use")["evidence"]["gpu_hours"] == "4"


def test_expired_when_another_request_covers_the_work_then_nothing(client: Client) -> None:
    old = request("speech", id="old", requested_until=END - timedelta(hours=3))
    ask(client, *BOTH, old)
    fill(client, healthy(HOURS))
    assert evaluate(client, "expired_request_in_use", "usage_without_request") == []


def test_without_owner_when_a_process_has_no_team_then_user_and_place(client: Client) -> None:
    ask(client, *BOTH)
    stray = {"team": "", "model": "", "endpoint": "", "process_name": "python", "user": "bob"}
    fill(client, [*healthy(HOURS), *work(minutes(4), 5, **stray, workload="python[9]")])
    found = only(client, "usage_without_owner")
    assert (found["subject"], found["team"]) == ("python by bob in east", "")
    assert found["evidence"]["gpu_hours"] == "4"
    assert found["evidence"]["example_host"] == "host-0"
    assert found["usd"] == pytest.approx(4 * 2 * 7)


def test_memory_when_it_swings_from_20_to_70_gib_then_both_ends(client: Client) -> None:
    ask(client, *BOTH)
    rows = list(healthy())
    for row in rows:
        if row["team"] == "search":
            high = row["ts"].hour == 12
            row["mem_mib_mean"] = (70 if high else 45 if row["ts"].hour < 2 else 30) * GIB
    fill(client, rows)
    found = only(client, "memory_swing")
    assert found["subject"] == "search ranker chat in production on NVIDIA H100 80GB HBM3"
    assert (found["evidence"]["model"], found["evidence"]["endpoint"]) == ("ranker", "chat")
    assert (found["evidence"]["mem_mib_p50"], found["evidence"]["mem_mib_p99"]) == (
        str(30 * GIB),
        str(70 * GIB),
    )
    assert found["usd"] is None


def test_consolidation_when_small_models_have_a_gpu_each_then_the_packing_and_its_price(
    client: Client,
) -> None:
    ask(client, request("search", gpus=6))
    small = {"mem_mib_mean": 10 * GIB, "mem_mib_max": 10 * GIB, "sm_busy_ms": 3_000}
    fill(
        client, [r for n in range(6) for r in work(minutes(HOURS), n, model=f"small-{n}", **small)]
    )
    found = only(client, "consolidation")
    assert (found["subject"], found["team"]) == ("production NVIDIA H100 80GB HBM3", "")
    assert {k: found["evidence"][k] for k in ("gpus_now", "gpus_needed", "models")} == {
        "gpus_now": "6",
        "gpus_needed": "1",
        "models": "6",
    }
    assert found["evidence"]["packing"].startswith("1: search small-0; 1: search small-1")
    assert found["usd"] == pytest.approx(5 * 2 * WEEK_H)


def test_gap_when_telemetry_is_lost_then_how_long_and_why(client: Client) -> None:
    introduce(client, "east", "host-3", "production")
    report(client, minutes(1), cluster="east", host="host-3")
    names = ("ts", "gap_s", "cluster", "host", "rows", "reason")
    gaps = [
        (END - timedelta(hours=5), 400, "east", "host-3", 12, "disk"),
        (END - timedelta(hours=3), 300, "east", "host-3", 0, "stopped"),
        (END - timedelta(hours=3), 500, "east", "host-4", 0, "stopped"),
        (END - timedelta(hours=30), 5_000, "east", "host-4", 0, "stopped"),
    ]
    client.insert("telemetry_gaps_raw", gaps, column_names=names)
    found = only(client, "telemetry_gap")
    assert (found["subject"], found["pool"]) == ("east/host-3", "production")
    assert found["evidence"] == {
        "lost_minutes": "11.7",
        "lost_rows": "12",
        "reasons": "disk, stopped",
        "agent_version": "0.1.0",
    }


SILENT = {
    "host-0": (timedelta(minutes=16), timedelta(days=1), True),
    "host-1": (timedelta(minutes=14), timedelta(days=1), False),
    "host-2": (timedelta(days=6, hours=23), timedelta(days=40), True),
    "host-3": (timedelta(days=7, hours=1), timedelta(days=40), False),
    "host-4": (None, timedelta(minutes=14), False),
    "host-5": (None, timedelta(minutes=16), True),
}
"""Host -> since its last word, since it was introduced, and whether that is told."""


def test_gap_when_a_host_falls_silent_then_it_is_told_until_it_is_forgotten(client: Client) -> None:
    for host, (last_word, introduced, _) in SILENT.items():
        introduce(client, "", host, "production", END - introduced)
        if last_word is not None:
            report(client, [END - last_word], host=host)
    found = evaluate(client)
    assert {row["rule"] for row in found} == {"telemetry_gap"}
    assert {row["subject"]: row["evidence"]["silent_since"] for row in found} == {
        host: f"{END - (introduced if last_word is None else last_word):%F %T}"
        for host, (last_word, introduced, told) in SILENT.items()
        if told
    }


def test_findings_when_nobody_knows_a_price_then_they_are_found_without_money(
    client: Client,
) -> None:
    fill(client, work(minutes(9), sm_busy_ms=0))
    assert {(row["rule"], row["usd"]) for row in evaluate(client)} == {
        ("idle_allocation", None),
        ("usage_without_request", None),
    }
