"""Histograms of the wire: layouts of buckets once a batch, counts row after row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from gpuledger_collector.tables import U64
from gpuledger_proto.v1 import telemetry_pb2 as wire

MAX_LAYOUTS = 256
MAX_BOUNDS = 200
MAX_COUNTS = 250_000
"""Counts of a batch in one histogram."""

Bucket = tuple[int, int]
"""Above which value, and up to which, microseconds; U64 for no limit."""

Layout = tuple[Bucket, ...]


class LayoutError(ValueError):
    """Buckets that cannot be; says why in one line."""


def layouts(sent: Sequence[wire.Buckets]) -> list[Layout]:
    """The layouts of a batch; entry 0 has no buckets. Raises LayoutError."""
    if len(sent) > MAX_LAYOUTS:
        raise LayoutError(f"{len(sent)} entries; at most {MAX_LAYOUTS}")
    if not sent:
        return [()]
    if sent[0].upto_us:
        raise LayoutError("entry 0 must be empty")
    return [(), *(_layout(index, each.upto_us) for index, each in enumerate(sent[1:], 1))]


def _layout(index: int, bounds: Sequence[int]) -> Layout:
    if not 0 < len(bounds) <= MAX_BOUNDS:
        raise LayoutError(f"entry {index} has {len(bounds)} bounds; 1 to {MAX_BOUNDS}")
    edges = (0, *bounds, U64)
    if any(upper <= lower for lower, upper in pairwise(edges)):
        raise LayoutError(f"entry {index} does not increase")
    return tuple(pairwise(edges))


def by_row(
    used: Sequence[int], counts: Sequence[int], known: Sequence[Layout], rows: int
) -> tuple[list[list[Bucket]], list[list[int]]]:
    """Of each row the buckets that are not empty, and what is in them. Raises LayoutError.

    `used`: the layout of each row. `counts`: those of all rows, one after the other.
    """
    if len(used) != rows:
        raise LayoutError(f"layout: {len(used)} values for {rows} rows")
    if len(counts) > MAX_COUNTS:
        raise LayoutError(f"counts: {len(counts)} values; at most {MAX_COUNTS} a batch")
    if max(used) >= len(known):
        raise LayoutError("layout: an index beyond the layouts")
    wanted = sum(len(known[index]) for index in used)
    if len(counts) != wanted:
        raise LayoutError(f"counts: {len(counts)} values for {wanted} buckets")
    return _split(used, iter(counts), known)


def _split(
    used: Sequence[int], counts: Iterable[int], known: Sequence[Layout]
) -> tuple[list[list[Bucket]], list[list[int]]]:
    buckets: list[list[Bucket]] = []
    filled: list[list[int]] = []
    for index in used:
        found = [(b, n) for b, n in zip(known[index], counts, strict=False) if n]
        buckets.append([bucket for bucket, _ in found])
        filled.append([count for _, count in found])
    return buckets, filled
