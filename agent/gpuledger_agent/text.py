"""Strangers' text in front of people: process names, labels and errors can hold anything."""

from __future__ import annotations


def one_line(text: str) -> str:
    """The text on one line, what does not print escaped: no line breaks, no terminal commands."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
