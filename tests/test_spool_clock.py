"""The spool under clocks that were wrong for a while."""

from __future__ import annotations

from pathlib import Path

from gpuledger_agent.gaps import Gap, GapReason
from gpuledger_agent.spool import Spool
from tests.test_spool_faults import DAY, fill, told, waiting

YEARS_AHEAD = DAY + 3 * 365 * 86_400


def test_windows_when_the_clock_was_years_ahead_and_is_set_right_then_they_are_kept(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path / "spool.sqlite")
    fill(spool, 1, since=YEARS_AHEAD)
    fill(spool, 2)
    assert waiting(spool) == [1, 2, 3]
    assert spool.state().rows_dropped == 0
    spool.close()


def test_absence_when_the_clock_was_set_back_before_it_then_it_is_told(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite")
    fill(spool, 1, since=YEARS_AHEAD)
    fill(spool, 1)
    spool.close()
    spool = Spool(tmp_path / "spool.sqlite")
    assert spool.earlier_until == DAY + 10
    spool.begin(DAY + 60)
    fill(spool, 1, since=DAY + 60)
    assert waiting(spool) == [1, 2, 3]
    assert told(spool) == [Gap(DAY + 10, DAY + 60, 0, GapReason.STOPPED)]
    spool.close()


def test_spool_when_an_earlier_build_left_it_years_ahead_then_new_windows_are_kept(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path / "spool.sqlite")
    fill(spool, 1, since=YEARS_AHEAD)
    spool.close()
    spool = Spool(tmp_path / "spool.sqlite")
    spool.begin(DAY)
    fill(spool, 2)
    assert waiting(spool) == [1, 2, 3]
    assert told(spool) == []
    spool.close()


def test_window_when_it_comes_a_little_late_then_the_spool_does_not_go_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite")
    fill(spool, 1, since=DAY + 100)
    fill(spool, 1)
    assert spool.written_until() == DAY + 110
    spool.close()
