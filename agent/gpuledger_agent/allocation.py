"""What was granted in a window: the unheld time of each GPU, divided among those granted it.

The arithmetic is that of docs/books.md: grants of one GPU divide it by their shares, moment by
moment; what nobody was granted stays unallocated; integers add up exactly.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from gpuledger_agent.records import GpuUse

Who = TypeVar("Who", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Claim(Generic[Who]):
    """`who` was granted `share` (0 to 1) of a GPU, from `since` to `until` (epoch seconds)."""

    who: Who
    share: float
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Allotted(Generic[Who]):
    """What falls to one grant in one window of one GPU; milliseconds of a whole physical GPU.

    `share_milli` is the part of the GPU or MIG instance that was granted, in thousandths.
    """

    who: Who
    share_milli: int
    granted_ms: int
    unheld_ms: int


def allot(use: GpuUse, claims: Sequence[Claim[Who]]) -> tuple[Allotted[Who], ...]:
    """Divide a GPU's window among those granted it; claims of one `who` become one."""
    weights = _weights(claims, use.window.start, use.window.end)
    shares: dict[Who, float] = {}
    for claim in claims:
        shares[claim.who] = shares.get(claim.who, 0.0) + claim.share
    length = use.window.seconds
    unheld = use.observed_ms - use.held_ms
    allotted = []
    granted_before = unheld_before = 0
    covered = 0.0
    for who, weight in weights.items():
        covered += weight
        granted = round(use.observed_ms * covered / length) - granted_before
        # Rounded apart, so that a part may exceed its whole by one: then it is the whole.
        part = min(round(unheld * covered / length) - unheld_before, granted)
        granted_before += granted
        unheld_before += part
        share_milli = round(1000 * min(shares[who], 1.0))
        allotted.append(Allotted(who, share_milli, granted, part))
    return tuple(allotted)


def _weights(claims: Sequence[Claim[Who]], start: float, end: float) -> dict[Who, float]:
    """Seconds of the GPU between two moments that fall to each; together at most all of them."""
    clipped = [(c, max(c.since, start), min(c.until, end)) for c in claims]
    held = [(claim, since, until) for claim, since, until in clipped if since < until]
    comes = [(since, claim.share) for claim, since, _ in held]
    goes = [(until, -claim.share) for claim, _, until in held]
    per_share = _seconds_per_share(comes + goes)
    weights = {claim.who: 0.0 for claim in claims}
    for claim, since, until in held:
        weights[claim.who] += claim.share * (per_share[until] - per_share[since])
    return weights


def _seconds_per_share(changes: Iterable[tuple[float, float]]) -> dict[float, float]:
    """For each moment of a change of what is claimed: what one share had until then, in seconds.

    Where more is claimed than there is, each share is worth less.
    """
    had: dict[float, float] = {}
    before = claimed = total = 0.0
    for at, change in sorted(changes):
        total += (at - before) / max(claimed, 1.0) if had else 0.0
        had[at] = total
        before, claimed = at, claimed + change
    return had
