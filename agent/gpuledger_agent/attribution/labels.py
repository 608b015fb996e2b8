"""What a label may be. Labels come from strangers' containers and environments."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from hashlib import sha256
from itertools import accumulate

from gpuledger_agent.text import one_line

MAX_LABEL = 128
"""Characters of a label value."""

MAX_LABELS = 256
"""Labels and annotations of one workload that are kept."""

MAX_TEXT = 32_768
"""Characters of all of them: a thousand containers of full length take 32 MiB or so."""


_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that count as printable and show nothing: fillers, blanks, selectors of variants."""


class LabelError(ValueError):
    """A label value that cannot stand in the books; says why in one line."""


def clean(value: str) -> str:
    """The value as it goes into the books: trimmed, in Unicode normal form C.

    Raises LabelError for what is too long or holds characters that do not print.
    """
    text = unicodedata.normalize("NFC", value.strip()) if len(value) <= 4 * MAX_LABEL else value
    if len(text) > MAX_LABEL:
        raise LabelError(f"is longer than {MAX_LABEL} characters")
    if not shows(text):
        raise LabelError("holds characters that do not print")
    return text


def shows(text: str) -> bool:
    """Whether each of its characters is seen: two names that look alike to people should be one."""
    return text.isprintable() and not _UNSEEN.search(text)


def unique(value: str) -> str:
    """The value as `clean` has it, or what can stand for it and for no other."""
    try:
        return clean(value)
    except LabelError:
        digest = sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        kept = "".join(c if shows(c) else "?" for c in value[:MAX_LABEL])
        return clean(unicodedata.normalize("NFC", kept)[: MAX_LABEL - 9] + f"~{digest}")


def fitting(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels (or variables) of one workload that are kept.

    All, in their order, or else the shortest, since names of owners are short.
    """
    sizes = {name: len(name) + len(value) for name, value in labels.items()}
    if len(sizes) <= MAX_LABELS and sum(sizes.values()) <= MAX_TEXT:
        return dict(labels)
    shortest = sorted(sizes, key=lambda name: (sizes[name], name))[:MAX_LABELS]
    ends = accumulate(sizes[name] for name in shortest)
    return {name: labels[name] for name, end in zip(shortest, ends, strict=True) if end <= MAX_TEXT}


def shown(value: str, longest: int = 64) -> str:
    """A stranger's text on a line for people: cut, and what does not print escaped."""
    return one_line(value if len(value) <= longest else value[:longest] + "...")
