"""What was lost, and why: windows of this host that will never reach the books."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from gpuledger_proto.v1 import telemetry_pb2 as wire

DAY_S = 86_400

LONGEST_S = 366 * DAY_S
"""Nothing waits for longer. A gap beyond it is damage, and would be a batch for each day."""

U32 = 1 << 32
"""What a file says beyond this is no figure of ours."""


class GapReason(IntEnum):
    """Why windows are missing; values are those of the wire.

    Reasons that only a newer agent knows, which wrote this spool before, are UNSPECIFIED.
    """

    UNSPECIFIED = 0
    SPOOL_FULL = 1
    SPOOL_AGE = 2
    DISK = 3
    CORRUPT = 4
    REFUSED = 5
    STOPPED = 6

    @classmethod
    def _missing_(cls, value: object) -> GapReason | None:
        return cls.UNSPECIFIED if isinstance(value, int) else None


@dataclass(frozen=True, slots=True)
class Gap:
    """Between `start` and `end` (seconds since the epoch) so many rows were lost.

    With STOPPED nobody measured, and with CORRUPT nobody knows how many: then `rows` is 0.
    """

    start: int
    end: int
    rows: int
    reason: GapReason


def noted(start: object, end: object, rows: object, reason: object) -> Gap | None:
    """A gap as a file tells of it; None if these figures cannot be."""
    match start, end, rows, reason:
        case int(), int(), int(), int() if 0 <= start <= end < U32 and 0 <= rows < U32:
            gap = Gap(start, end, rows, GapReason(reason))
            return gap if end - start <= LONGEST_S else None
    return None


def merged(gaps: Iterable[Gap]) -> list[Gap]:
    """Gaps of one reason that touch or overlap become one; by reason, then time."""
    found: list[Gap] = []
    for gap in sorted(gaps, key=lambda gap: (gap.reason, gap.start)):
        last = found[-1] if found else None
        if last is not None and last.reason is gap.reason and gap.start <= last.end:
            found[-1] = replace(last, end=max(last.end, gap.end), rows=last.rows + gap.rows)
        else:
            found.append(gap)
    return found


def by_day(gaps: Iterable[Gap]) -> Iterator[Gap]:
    """Gaps cut at midnight UTC; all rows are counted in the first piece."""
    for gap in gaps:
        start, rows = gap.start, gap.rows
        while True:
            midnight = (start // DAY_S + 1) * DAY_S
            yield Gap(start, min(gap.end, midnight), rows, gap.reason)
            if gap.end <= midnight:
                break
            start, rows = midnight, 0


def gap_batches(gaps: Sequence[Gap]) -> list[wire.Batch]:
    """These gaps as batches, each within one UTC day."""
    days: dict[int, wire.Batch] = {}
    for gap in by_day(merged(gaps)):
        batch = days.setdefault(gap.start // DAY_S, wire.Batch(dictionary=[""]))
        columns = batch.telemetry_gaps
        columns.window_start.append(gap.start)
        columns.gap_s.append(gap.end - gap.start)
        columns.rows.append(gap.rows)
        columns.reason.append(wire.GapReason.ValueType(gap.reason))
    return list(days.values())


def gaps_of(batch: wire.Batch) -> list[Gap]:
    """The gaps that a batch tells of."""
    columns = batch.telemetry_gaps
    return [
        Gap(start, start + length, rows, GapReason(reason))
        for start, length, rows, reason in zip(
            columns.window_start, columns.gap_s, columns.rows, columns.reason, strict=True
        )
    ]
