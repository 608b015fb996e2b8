"""A short run of every target, always the same; `make fuzz` looks for what is new."""

from __future__ import annotations

from random import Random

import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_collector import columns, validate
from gpuledger_collector.columns import Insert
from tests.fuzz.__main__ import TARGETS
from tests.fuzz.batches import Batches
from tests.fuzz.contract import Breach
from tests.fuzz.run import dice_of, run
from tests.wire.record import keep_for_ever

SEED = 7

MUTANTS = {
    "answers": 2_400,
    "expositions": 500,
    "containers": 3_000,
    "infos": 3_000,
    "cgroups": 3_000,
    "certificates": 3_000,
    "spools": 50,
}


@pytest.mark.parametrize("target", MUTANTS)
def test_strangers_words_when_mutated_then_they_are_read_or_refused(target: str) -> None:
    outcome = run(TARGETS[target](), SEED, MUTANTS[target])
    assert outcome.error is None, f"--target {target} --seed {SEED} --only {outcome.finding}"
    assert outcome.mutants >= MUTANTS[target]


def test_batches_when_mutated_then_what_is_accepted_is_what_clickhouse_takes(
    client: Client,
) -> None:
    keep_for_ever(client)
    stored = 0

    def store(inserts: list[Insert]) -> None:
        nonlocal stored
        for each in inserts:
            client.insert(
                each.table,
                each.columns,
                column_names=each.names,
                column_type_names=each.types,
                column_oriented=True,
            )
            stored += each.rows

    target = Batches(store, store_every=20)
    outcome = run(target, SEED, 10_000)
    assert outcome.error is None, f"--seed {SEED} --only {outcome.finding}"
    assert stored > 500
    assert min(target.outcomes.values()) > 500


@pytest.mark.parametrize("check", ["_time_problems", "_window_problems", "problems"])
def test_batches_when_a_check_is_missing_then_it_is_found(
    monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    """The contract is not what it judges."""
    where = columns if check == "problems" else validate
    monkeypatch.setattr(where, check, lambda *_: ())
    outcome = run(Batches(), SEED, 20_000)
    assert isinstance(outcome.error, Breach)


def test_execution_when_repeated_then_it_is_the_same() -> None:
    def numbers(dice: Random) -> list[float]:
        return [dice.random() for _ in range(3)]

    assert numbers(dice_of(1, 2)) == numbers(dice_of(1, 2)) != numbers(dice_of(1, 3))
