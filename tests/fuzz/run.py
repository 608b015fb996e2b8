"""Feeding a target until so many mutants were executed, or the time is up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz.batches import Target

ROUND = 50
"""Executions between two looks at the clock."""


@dataclass(slots=True)
class Outcome:
    """What came of a run; `finding` is the number of the execution that showed a fault, if any.

    Executions are numbered from 0 on; one of them may feed several mutants.
    """

    executions: int = 0
    mutants: int = 0
    finding: int | None = None
    error: BaseException | None = None


def dice_of(seed: int, execution: int) -> random.Random:
    """Each execution has its own, so that one alone can be repeated."""
    return random.Random(f"{seed}:{execution}")


def run(
    target: Target,
    seed: int,
    mutants: int,
    until: float = float("inf"),
    tell: Callable[[Outcome], None] = lambda _: None,
) -> Outcome:
    """Feed it so many mutants, or until `time.monotonic` says so, or something is found."""
    outcome = Outcome()
    while outcome.mutants < mutants:
        try:
            outcome.mutants += target.execute(dice_of(seed, outcome.executions))
        except Exception as error:  # noqa: BLE001  # which is what is looked for
            outcome.finding, outcome.error = outcome.executions, error
            return outcome
        outcome.executions += 1
        if outcome.executions % ROUND == 0:
            tell(outcome)
            if time.monotonic() > until:
                break
    return outcome
