"""Which faults come when: everything is drawn from the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from tests.faults.inflict import KINDS, Fault, Target


def plan(
    seed: int, kinds: Sequence[str], targets: Mapping[Target, int], pause_s: float
) -> Iterator[tuple[float, Fault]]:
    """Faults without end, each with the seconds to wait before it.

    First each of `kinds` once, then by their weights. `targets` says how many there are of each.
    """
    dice = random.Random(seed)
    first = list(kinds)
    dice.shuffle(first)
    weights = [KINDS[name].weight for name in kinds]
    while True:
        name = first.pop() if first else dice.choices(kinds, weights)[0]
        kind = KINDS[name]
        fault = Fault(
            kind=name,
            target=dice.randrange(targets[kind.target]),
            seconds=_short(dice, *kind.seconds),
            dice=random.Random(dice.getrandbits(64)),
        )
        yield min(dice.expovariate(1 / pause_s), 4 * pause_s), fault


def _short(dice: random.Random, low: float, high: float) -> float:
    """Mostly near the lower end: what is back at once meets what is still going on."""
    return low + (high - low) * dice.random() ** 2
