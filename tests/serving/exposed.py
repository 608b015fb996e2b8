"""Texts as servers answer with them, and what the agent makes of a text."""

from __future__ import annotations

from pathlib import Path

from gpuledger_agent.serving import families
from gpuledger_agent.serving.delta import Counted, Served
from gpuledger_agent.serving.exposition import samples
from gpuledger_agent.serving.families import Family
from gpuledger_agent.serving.reading import Reading, read, wanted

TEXTS = Path(__file__).with_name("exposition")
FAMILIES = families.load()


def text_of(family: str) -> bytes:
    """What a server of this family answers with."""
    return (TEXTS / f"{family}.txt").read_bytes()


def reading_of(
    text: bytes, known: tuple[Family, ...] = FAMILIES, content_type: str = "text/plain"
) -> Reading | None:
    """What a text says. Raises ScrapeError."""
    return read(samples(text, content_type, wanted(known)), known)


def served(
    text: bytes, counted: Counted | None = None, known: tuple[Family, ...] = FAMILIES
) -> dict[str, Served]:
    """What was served since then (since the server began), by model."""
    reading = reading_of(text, known)
    assert reading is not None
    return (counted or Counted()).served(reading)
