"""How every benchmark prints: one figure a line."""

from __future__ import annotations


def report(title: str, *figures: tuple[str, float]) -> None:
    """Print a title and figures, with three significant digits."""
    print(f"\n{title}")
    for name, value in figures:
        print(f"  {_number(value):>12}  {name}")


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
