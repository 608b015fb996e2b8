"""The life of a finding: it opens, stays, resolves, comes back, and rests while acknowledged."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given
from hypothesis import strategies as st

from gpuledger_collector.ledger import acks
from gpuledger_collector.ledger.findings import Schedule, Version, evaluate, judge
from gpuledger_collector.ledger.rules import Rule
from gpuledger_collector.store.client import StoreConfig, connect

T0 = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)
"""Recent, because evaluations expire."""


def rule(*subjects: str, name: str = "r", usd: str = "1.5", **given: object) -> Rule:
    """A rule that finds these."""
    listed = ", ".join(f"'{subject}'" for subject in subjects)
    sql = (
        f"SELECT s AS subject, 'search' AS team, 'p' AS pool, toNullable(toFloat64({usd})) AS usd,"
        " map('figure', '7', 'unknown', NULL) AS evidence"
        f" FROM (SELECT arrayJoin(CAST([{listed}] AS Array(String))) AS s)"
    )
    return replace(Rule(name, "d", "r", "warning", (), sql), **given)


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def states(client: Client) -> list[tuple[str, datetime, datetime, datetime | None]]:
    return list(
        client.query(
            "SELECT subject, first_seen, last_seen, resolved_at FROM findings"
            " ORDER BY subject, first_seen",
            query_tz="UTC",
            tz_mode="aware",
        ).result_rows
    )


def test_finding_when_it_stays_then_it_keeps_its_begin_and_renews_the_rest(client: Client) -> None:
    evaluate(client, [rule("a")], at(0))
    evaluate(client, [rule("a", usd="9", severity="critical")], at(5))
    assert states(client) == [("a", at(0), at(5), None)]
    [row] = client.query("SELECT * FROM open_findings").named_results()
    assert (row["usd"], row["severity"], row["evidence"]) == (9.0, "critical", {"figure": "7"})


def test_finding_when_its_cause_is_gone_then_it_resolves_and_history_stays(client: Client) -> None:
    evaluate(client, [rule("a", "b")], at(0))
    [outcome] = evaluate(client, [rule("b")], at(5))
    assert (outcome.found, outcome.opened, outcome.resolved) == (1, 0, 1)
    evaluate(client, [rule("a", "b")], at(10))
    assert states(client) == [
        ("a", at(0), at(0), at(5)),
        ("a", at(10), at(10), None),
        ("b", at(0), at(10), None),
    ]
    ids = client.query("SELECT uniqExact(id) FROM findings WHERE subject = 'a'").result_rows
    assert ids == [(1,)]


def test_evaluate_when_repeated_then_nothing_changes(client: Client) -> None:
    evaluate(client, [rule("a")], at(0))
    before = states(client)
    evaluate(client, [rule("a", "b", usd="2")], at(0))
    assert states(client)[:1] == before
    count = "SELECT count() FROM open_findings WHERE subject = 'a'"
    assert client.query(count).result_rows == [(1,)]


def test_evaluate_when_a_slow_one_ends_after_a_later_one_then_the_later_one_counts(
    client: Client,
) -> None:
    evaluate(client, [rule("a")], at(0))
    evaluate(client, [rule("b")], at(10))
    evaluate(client, [rule("a")], at(5))
    assert states(client) == [("a", at(0), at(0), at(10)), ("b", at(10), at(10), None)]


def test_evaluate_when_a_rule_fails_then_its_findings_stay_and_others_go_on(
    client: Client,
) -> None:
    evaluate(client, [rule("a"), rule("b", name="other")], at(0))
    broken = rule("a", sql="SELECT nonsense")
    outcomes = evaluate(client, [broken, rule(name="other")], at(5))
    assert "nonsense" in outcomes[0].error
    assert states(client) == [("a", at(0), at(0), None), ("b", at(0), at(0), at(5))]
    noted = "SELECT rule FROM rule_evaluations WHERE error != ''"
    assert client.query(noted).result_rows == [("r",)]


def test_evaluate_when_a_rule_would_write_then_it_may_not(client: Client) -> None:
    [outcome] = evaluate(client, [rule(sql="TRUNCATE TABLE hosts_raw")], at(0))
    assert "readonly" in outcome.error


def test_evaluate_when_a_rule_is_switched_off_then_its_findings_resolve(client: Client) -> None:
    evaluate(client, [rule("a")], at(0))
    evaluate(client, [rule("a", enabled=False)], at(5))
    assert states(client) == [("a", at(0), at(0), at(5))]


def test_evaluate_when_a_rule_is_unknown_to_this_version_then_its_findings_stay(
    client: Client,
) -> None:
    evaluate(client, [rule("a", name="newer")], at(0))
    evaluate(client, [rule("b")], at(5))
    assert ("a", at(0), at(0), None) in states(client)


def test_evaluate_when_many_do_it_at_once_then_every_finding_is_open_once_and_stays_so(
    database: StoreConfig, client: Client
) -> None:
    evaluate(client, [rule("gone")], at(-5))
    begin = threading.Barrier(4)

    def collector(number: int) -> None:
        with connect(database) as own:
            begin.wait()
            for turn in range(5):
                evaluate(own, [rule("a", "b")], at(5 * turn + number * 0.1))

    threads = [threading.Thread(target=collector, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    opened = client.query("SELECT subject, id FROM open_findings ORDER BY subject").result_rows
    assert [subject for subject, _ in opened] == ["a", "b"]
    past = "SELECT subject FROM findings WHERE state = 'resolved'"
    assert client.query(past).result_rows == [("gone",)]
    evaluate(client, [rule()], at(60))
    assert client.query("SELECT count() FROM findings WHERE state = 'open'").result_rows == [(0,)]


def test_findings_when_open_then_the_worst_money_comes_first_and_none_last(
    client: Client,
) -> None:
    evaluate(
        client,
        [
            rule("cheap", name="1", usd="1"),
            rule("unknown", name="2", usd="NULL"),
            rule("dear", name="3", usd="100"),
            rule("urgent", name="4", usd="1", severity="critical"),
        ],
        at(0),
    )
    rows = client.query("SELECT subject FROM open_findings").result_rows
    assert [subject for (subject,) in rows] == ["dear", "urgent", "cheap", "unknown"]


def test_ack_when_given_then_the_finding_rests_even_if_it_comes_back_until_its_time(
    client: Client,
) -> None:
    def state() -> tuple[str, str]:
        [told] = client.query(
            "SELECT state, ack_reason FROM findings ORDER BY first_seen DESC LIMIT 1"
        ).result_rows
        return told

    now = datetime.now(UTC)
    evaluate(client, [rule("a")], at(0))
    [(finding,)] = client.query("SELECT id FROM open_findings").result_rows
    acks.acknowledge(client, finding, now + timedelta(days=1), "ann", "launch on Friday")
    assert state() == ("acknowledged", "launch on Friday")
    assert client.query("SELECT * FROM open_findings").result_rows == []
    evaluate(client, [rule()], at(5))
    assert state() == ("resolved", "launch on Friday")
    evaluate(client, [rule("a")], at(10))
    assert state() == ("acknowledged", "launch on Friday")
    acks.acknowledge(client, finding, now - timedelta(seconds=1), "ann", "launched")
    assert state() == ("open", "launched")


def test_ack_when_nobody_knows_the_finding_then_it_is_refused(client: Client) -> None:
    with pytest.raises(acks.UnknownFindingError, match="gpuledger findings --all"):
        acks.acknowledge(client, "nonsense", datetime.now(UTC), "ann", "")
    assert client.query("SELECT * FROM finding_acks").result_rows == []


def test_schedule_when_two_collectors_have_it_then_each_time_is_evaluated_once(
    client: Client,
) -> None:
    first = Schedule(client, [rule("a")], 86_400)
    wait = first.run_once()
    assert 0 < wait <= 86_400
    second = Schedule(client, [rule("a", "b")], 86_400)
    second.run_once()
    count = "SELECT count(), uniqExact(evaluated_at) FROM rule_evaluations"
    assert client.query(count).result_rows == [(1, 1)]
    begun = client.query("SELECT first_seen FROM open_findings", tz_mode="aware").result_rows
    assert begun == [(datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0),)]


def test_schedule_when_told_to_stop_then_the_rules_that_are_left_wait(client: Client) -> None:
    stop = threading.Event()
    stop.set()
    Schedule(client, [rule("a")], 3_600).run_once(stop)
    assert states(client) == []


def found(subject: str, when: datetime) -> Version:
    second = when.replace(microsecond=0)
    return Version("r", subject, second, when, "info", "", "", None, {}, second, None)


@given(st.lists(st.sets(st.sampled_from("abc")), max_size=8), st.randoms(use_true_random=False))
def test_judge_when_evaluations_end_in_any_order_then_the_last_one_counts(
    truths: Sequence[set[str]], rng: random.Random
) -> None:
    """Evaluations overlap: each reads what was written when it read, and may write much later."""
    table: dict[tuple[str, datetime], Version] = {}
    pending: list[list[Version]] = []

    def write(rows: list[Version]) -> None:
        for row in rows:
            key = (row.subject, row.first_seen)
            if key not in table or table[key].evaluated_at <= row.evaluated_at:
                table[key] = row

    for turn, truth in enumerate(truths):
        when = at(5 * turn)
        known = [v for v in table.values() if v.resolved_at is None or v.evaluated_at >= when]
        pending.append(judge([found(subject, when) for subject in truth], known, when))
        while pending and rng.random() < 0.7:
            write(pending.pop(rng.randrange(len(pending))))
    for rows in pending:
        write(rows)
    last = at(5 * len(truths))
    known = [v for v in table.values() if v.resolved_at is None]
    write(judge([found("a", last)], known, last))
    still = [v for v in table.values() if v.resolved_at is None]
    assert {v.subject for v in still} == {"a"}
    assert all(v.resolved_at is None or v.resolved_at >= v.first_seen for v in table.values())
