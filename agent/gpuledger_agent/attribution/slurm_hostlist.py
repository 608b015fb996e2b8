"""Slurm's short forms for many: hostlists (`node[1-4,7]`) and lists of numbers (`0-1,3`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_NUMBERS = 1_024
"""Numbers of one list; more are not looked at."""

MAX_HOSTLIST = 65_536
"""Characters of a hostlist that are looked at."""

MAX_BRACKETS = 4
"""Brackets in one name; one with more fits no host."""

_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)

_ELEMENT = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")


class _Range(NamedTuple):
    first: int
    last: int
    width: int
    """Digits of a number that is filled up with zeros; 0 for one that is not."""


def numbers(text: str) -> list[int]:
    """The numbers of `0-1,3`, at most MAX_NUMBERS. What is no number or range is left out."""
    found: list[int] = []
    for part in _ranges(text):
        left = MAX_NUMBERS - len(found)
        found.extend(range(part.first, min(part.last + 1, part.first + left)))
    return found


def contains(hostlist: str, host: str) -> bool:
    """Whether a host is one of `node[01-04,7],login1`."""
    return any(
        element.count("[") <= MAX_BRACKETS and _fits(host, element)
        for element in _ELEMENT.findall(hostlist[:MAX_HOSTLIST])
    )


def _ranges(text: str) -> Iterator[_Range]:
    for part in text.split(",", MAX_NUMBERS)[:MAX_NUMBERS]:
        if match := _RANGE.fullmatch(part):
            first = match[1]
            padded = len(first) > 1 and first.startswith("0")
            yield _Range(int(first), int(match[2] or first), len(first) if padded else 0)


def _fits(host: str, element: str) -> bool:
    literal, bracket, rest = element.partition("[")
    if not bracket:
        return host == literal
    if not host.startswith(literal):
        return False
    inside, _, after = rest.partition("]")
    ranges, tail = list(_ranges(inside)), host[len(literal) :]
    digits = re.match(r"\d{0,9}", tail, re.ASCII)
    longest = digits.end() if digits else 0
    return any(
        _among(tail[:end], ranges) and _fits(tail[end:], after) for end in range(1, longest + 1)
    )


def _among(digits: str, ranges: list[_Range]) -> bool:
    number = int(digits)
    return any(
        part.first <= number <= part.last and digits == str(number).zfill(part.width)
        for part in ranges
    )
