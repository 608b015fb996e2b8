"""Gaps: merged where they touch, cut at midnight, the same after the wire."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gpuledger_agent.gaps import DAY_S, Gap, GapReason, gap_batches, gaps_of, merged

any_gaps = st.lists(
    st.builds(
        lambda start, length, rows, reason: Gap(start, start + length, rows, reason),
        st.integers(1_800_000_000, 1_800_000_000 + 3 * DAY_S),
        st.integers(0, 2 * DAY_S),
        st.integers(0, 1 << 40),
        st.sampled_from(list(GapReason)),
    ),
    max_size=12,
)


def rows(gaps: list[Gap]) -> Counter[GapReason]:
    counted: Counter[GapReason] = Counter()
    for gap in gaps:
        counted[gap.reason] += gap.rows
    return counted


def covers(gaps: list[Gap], reason: GapReason, at: int) -> bool:
    return any(gap.reason is reason and gap.start <= at < gap.end for gap in gaps)


@given(any_gaps)
def test_gaps_when_merged_then_none_of_a_reason_touch_and_nothing_is_lost(gaps: list[Gap]) -> None:
    found = merged(gaps)
    assert rows(found) == rows(gaps)
    for one, other in itertools.pairwise(found):
        assert one.reason is not other.reason or one.end < other.start
    for gap in gaps:
        for at in (gap.start, gap.end - 1, (gap.start + gap.end) // 2):
            assert covers(gaps, gap.reason, at) == covers(found, gap.reason, at)
    assert merged(found) == found


@given(any_gaps)
def test_gaps_when_told_then_each_batch_is_of_one_day_and_says_the_same(gaps: list[Gap]) -> None:
    batches = gap_batches(gaps)
    heard = [gap for batch in batches for gap in gaps_of(batch)]
    for batch in batches:
        assert len({gap.start // DAY_S for gap in gaps_of(batch)}) == 1
    for gap in heard:
        assert gap.start <= gap.end <= (gap.start // DAY_S + 1) * DAY_S
    assert rows(heard) == rows(gaps)
    assert merged(heard) == merged(gaps)
