"""What a label may be, and how a stranger's text is shown to people."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_agent.attribution import labels as module
from gpuledger_agent.attribution.labels import (
    MAX_LABEL,
    LabelError,
    clean,
    fitting,
    shown,
    unique,
)

UNSEEN = st.sampled_from("\u034f\u115f\u180b\u2800\u3164\ufe0f\uffa0\U000e0100")
ANY = st.text(st.characters(exclude_categories=()) | UNSEEN, max_size=3 * MAX_LABEL)
PRINTABLE = st.text(
    st.characters(categories=("L", "M", "N", "P", "S")).filter(
        lambda c: not module._UNSEEN.match(c)
    ),
    max_size=MAX_LABEL,
)


@pytest.mark.parametrize(
    ("found", "booked"),
    [
        ("search", "search"),
        ("  two words\t\n", "two words"),
        ("u\u0308ber", "über"),
        ("\u2126", "Ω"),
        ("", ""),
        (" \u00a0\u2003\n", ""),
        ("x" * MAX_LABEL, "x" * MAX_LABEL),
        ("e\u0301" * MAX_LABEL, "é" * MAX_LABEL),
        ("🙂" * MAX_LABEL, "🙂" * MAX_LABEL),
    ],
)
def test_label_when_it_can_stand_then_it_is_trimmed_and_of_one_form(
    found: str, booked: str
) -> None:
    assert clean(found) == booked


@pytest.mark.parametrize(
    "found",
    [
        "a\nb",
        "a\0",
        "a\x1b[31mb",
        "a\u202eb",
        "a\u2028b",
        "a\u00a0b",
        "a\u200bb",
        "\udc80",
        "\ue000",
        "\u3164",
        "search\ufe0f",
        "search\u115f",
        "se\u034farch",
        "\u2800",
        "search\U000e0100",
    ],
)
def test_label_when_it_does_not_print_then_it_is_refused(found: str) -> None:
    with pytest.raises(LabelError, match=r"^holds characters that do not print$"):
        clean(found)


@pytest.mark.parametrize(
    "found",
    ["x" * (MAX_LABEL + 1), "x" * 10_000_000, "e\u0301" * 129],
    ids=["one more", "10 MB", "composed"],
)
def test_label_when_too_long_then_it_is_refused_and_not_cut(found: str) -> None:
    """A name cut short may be another's."""
    with pytest.raises(LabelError, match=f"^is longer than {MAX_LABEL} characters$"):
        clean(found)


@settings(deadline=None)
@given(ANY)
def test_label_whatever_is_found_then_it_is_refused_or_fit_for_the_books(found: str) -> None:
    try:
        booked = clean(found)
    except LabelError:
        return
    assert booked.isprintable()
    assert booked == booked.strip()
    assert len(booked) <= MAX_LABEL
    assert unicodedata.is_normalized("NFC", booked)
    assert booked.encode().decode() == booked
    assert clean(booked) == booked


@settings(deadline=None)
@given(PRINTABLE)
def test_label_whatever_prints_then_it_is_not_refused(found: str) -> None:
    booked = unicodedata.normalize("NFC", found)
    if len(booked) <= MAX_LABEL:
        assert clean(found) == booked


@settings(deadline=None)
@given(
    st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=40),
    st.integers(0, 40),
    st.integers(0, 400),
)
def test_labels_whatever_they_are_then_as_many_of_the_shortest_as_may_be_are_kept(
    labels: dict[str, str], most: int, room: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_LABELS", most)
        patch.setattr(module, "MAX_TEXT", room)
        kept = fitting(labels)
    sizes = sorted(len(name) + len(value) for name, value in labels.items())
    assert kept.items() <= labels.items()
    assert len(kept) == sum(sum(sizes[:n]) <= room for n in range(1, min(len(sizes), most) + 1))
    assert sorted(len(n) + len(v) for n, v in kept.items()) == sizes[: len(kept)]
    if kept == labels:
        assert list(kept) == list(labels), "in their order"


@settings(deadline=None)
@given(ANY, ANY)
def test_name_whatever_it_is_then_what_stands_for_it_is_fit_and_no_others(
    one: str, other: str
) -> None:
    booked = unique(one)
    assert clean(booked) == booked
    assert (booked == unique(other)) == (_same(one) == _same(other))


def _same(name: str) -> str:
    """Names that differ in outer space or in Unicode's form only are one."""
    try:
        return clean(name)
    except LabelError:
        return name


def test_name_when_it_is_too_long_then_its_beginning_is_kept() -> None:
    assert unique("x" * 500).startswith("x" * 100)
    assert unique("a\nb").startswith("a?b~")
    assert unique(" ranker ") == "ranker"


@pytest.mark.parametrize("unseen", ["\u115f", "\u2800", "\u3164", "\U000e0100"])
def test_name_when_it_shows_nothing_then_what_stands_for_it_does(unseen: str) -> None:
    assert re.fullmatch(r"\?~[0-9a-f]{8}", unique(unseen))
    assert unique(f"ranker{unseen}").startswith("ranker?~")


@settings(deadline=None)
@given(ANY, st.integers(0, 100))
def test_text_whatever_it_is_then_it_is_shown_on_one_short_line(text: str, longest: int) -> None:
    line = shown(text, longest)
    assert line.isprintable()
    assert len(line) <= len("\\U0010ffff") * longest + len("...")
    assert len(text) <= longest or line.endswith("...")


def test_text_when_it_prints_and_is_short_then_it_is_shown_as_it_is() -> None:
    assert shown("größer 🙂") == "größer 🙂"
    assert shown("a\nb\x1b") == "a\\nb\\x1b"
    assert shown("x" * 65) == "x" * 64 + "..."
