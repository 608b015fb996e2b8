"""Division of unheld time among grants: exact in integers, honest about shares and moments."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuledger_agent.allocation import Allotted, Claim, allot
from gpuledger_agent.devices.base import GpuInfo, SmSource
from gpuledger_agent.records import GpuUse, Window

START, SECONDS = 1_800_000_000, 10
END = START + SECONDS
FOREVER = float("inf")


def window(observed_ms: int = 10_000, held_ms: int = 0) -> GpuUse:
    """A window of one GPU that was held for so long."""
    return GpuUse(
        window=Window(START, SECONDS),
        gpu=GpuInfo("GPU-1", 0, "H100", 81_559),
        observed_ms=observed_ms,
        held_ms=held_ms,
        sm_busy_ms=0,
        sm_pct_max=0,
        sm_source=SmSource.DEVICE,
        mem_mib_mean=None,
        mem_mib_max=None,
        power_w_mean=None,
        power_w_max=None,
        temperature_c_max=None,
        sm_clock_mhz_mean=None,
        tensor_pct_mean=None,
        dram_pct_mean=None,
        ecc_uncorrected=None,
        xid=0,
        processes=(),
    )


def test_grant_when_nobody_holds_the_gpu_then_all_its_time_is_unheld() -> None:
    assert allot(window(), [Claim("a", 1.0, 0, FOREVER)]) == (Allotted("a", 1000, 10_000, 10_000),)


def test_grant_when_the_gpu_is_held_in_part_then_the_rest_is_unheld() -> None:
    [a] = allot(window(held_ms=4_000), [Claim("a", 1.0, 0, FOREVER)])
    assert (a.granted_ms, a.unheld_ms) == (10_000, 6_000)


def test_grants_when_two_share_a_gpu_then_nothing_counts_twice() -> None:
    a, b = allot(window(), [Claim(who, 1.0, 0, FOREVER) for who in "ab"])
    assert (a.granted_ms, b.granted_ms, a.unheld_ms, b.unheld_ms) == (5_000,) * 4
    assert (a.share_milli, b.share_milli) == (1000, 1000)


def test_grant_when_it_is_one_replica_of_four_then_a_quarter_is_granted() -> None:
    assert allot(window(), [Claim("a", 0.25, 0, FOREVER)]) == (Allotted("a", 250, 2_500, 2_500),)


def test_grants_when_one_follows_the_other_then_each_has_its_part_of_the_window() -> None:
    a, b = allot(window(), [Claim("a", 1.0, 0, START + 3), Claim("b", 1.0, START + 3, FOREVER)])
    assert (a.who, a.granted_ms, b.who, b.granted_ms) == ("a", 3_000, "b", 7_000)


def test_grants_when_one_holder_has_several_of_a_gpu_then_they_are_one() -> None:
    claims = [Claim("a", 0.25, 0, FOREVER), Claim("a", 0.25, 0, FOREVER)]
    assert allot(window(), claims) == (Allotted("a", 500, 5_000, 5_000),)


@pytest.mark.parametrize(("since", "until"), [(0, START), (END, FOREVER), (START + 5, START + 5)])
def test_grant_when_outside_of_the_window_then_nothing_is_granted(
    since: float, until: float
) -> None:
    assert not [
        part for part in allot(window(), [Claim("a", 1.0, since, until)]) if part.granted_ms
    ]


def test_grants_when_rounding_would_make_a_part_exceed_its_whole_then_it_is_the_whole() -> None:
    shares = enumerate([0.5, 0.25, 0.1])
    use = replace(window(), observed_ms=11, held_ms=2)
    parts = allot(use, [Claim(who, share, 0, FOREVER) for who, share in shares])
    assert [(part.granted_ms, part.unheld_ms) for part in parts] == [(6, 4), (2, 2), (1, 1)]


@given(
    observed_ms=st.integers(0, 10_000),
    held=st.floats(0, 1),
    claims=st.lists(
        st.builds(
            Claim,
            who=st.sampled_from("abcd"),
            share=st.floats(0.001, 1),
            since=st.floats(START - 20, END + 20),
            until=st.floats(START - 20, END + 20) | st.just(FOREVER),
        ),
        max_size=12,
    ),
)
def test_grants_when_any_then_parts_add_up_and_never_exceed_the_gpu(
    observed_ms: int, held: float, claims: list[Claim[str]]
) -> None:
    use = replace(window(), observed_ms=observed_ms, held_ms=round(held * observed_ms))
    parts = allot(use, claims)
    assert len({part.who for part in parts}) == len(parts)
    assert sum(part.granted_ms for part in parts) <= observed_ms
    assert sum(part.unheld_ms for part in parts) <= observed_ms - use.held_ms
    for part in parts:
        assert 0 <= part.unheld_ms <= part.granted_ms
        assert 0 < part.share_milli <= 1000


@given(
    st.lists(
        st.builds(
            Claim,
            who=st.integers(0, 3),
            share=st.sampled_from([0.25, 0.5, 1.0]),
            since=st.integers(START - 3, END + 3),
            until=st.integers(START - 3, END + 3) | st.just(FOREVER),
        ),
        max_size=12,
    )
)
def test_grants_when_they_come_and_go_then_each_second_is_divided_among_who_is_there(
    claims: list[Claim[int]],
) -> None:
    seconds = dict.fromkeys((claim.who for claim in claims), 0.0)
    for second in range(START, END):
        there = [claim for claim in claims if claim.since <= second < claim.until]
        for claim in there:
            seconds[claim.who] += claim.share / max(sum(one.share for one in there), 1)
    for part in allot(window(), claims):
        assert part.granted_ms == pytest.approx(1000 * seconds[part.who], abs=1)
