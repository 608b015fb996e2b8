"""Tables as a person sees them, on terminals of any width."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gpuledger_collector.output import table

COLUMNS = ("team", "requested_gpu_hours", "waste_gpu_hours", "verdict")
ROWS = [("unattributed", 1.5, None, "oversized"), ("nlp-research", 387, 12, "fits")]
NEEDED = len("unattributed  requested_gpu_hours  waste_gpu_hours  verdict  ") + 2


def shown(width: int) -> list[str]:
    page = io.StringIO()
    to = Console(file=page, width=width, color_system=None)
    to.print(table(COLUMNS, ROWS, to))
    return [line.strip() for line in page.getvalue().splitlines() if line.strip()]


def test_table_when_there_is_room_then_names_stand_on_one_line() -> None:
    names, _, first, second = shown(NEEDED)
    assert names.split() == list(COLUMNS)
    assert first.split() == ["unattributed", "1.5", "-", "oversized"]
    assert second.split() == ["nlp-research", "387", "12", "fits"]


@given(st.integers(min_value=46, max_value=NEEDED - 3))
def test_table_when_the_terminal_is_narrow_then_names_are_broken_and_values_are_not(
    width: int,
) -> None:
    lines = shown(width)
    assert max(map(len, lines)) <= width
    assert [line.split() for line in lines[-2:]] == [
        ["unattributed", "1.5", "-", "oversized"],
        ["nlp-research", "387", "12", "fits"],
    ]
    assert "requested_" in " ".join(lines).split()
