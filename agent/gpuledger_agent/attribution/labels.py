"""What a label may be. Labels come from strangers' containers and environments."""

from __future__ import annotations

import unicodedata
from hashlib import sha256

from gpuledger_agent.text import one_line

MAX_LABEL = 128
"""Characters of a label value."""


class LabelError(ValueError):
    """A label value that cannot stand in the books; says why in one line."""


def clean(value: str) -> str:
    """The value as it goes into the books: trimmed, in Unicode normal form C.

    Raises LabelError for what is too long or holds characters that do not print.
    """
    text = unicodedata.normalize("NFC", value.strip()) if len(value) <= 4 * MAX_LABEL else value
    if len(text) > MAX_LABEL:
        raise LabelError(f"is longer than {MAX_LABEL} characters")
    if not text.isprintable():
        raise LabelError("holds characters that do not print")
    return text


def unique(value: str) -> str:
    """The value as `clean` has it, or what can stand for it and for no other."""
    try:
        return clean(value)
    except LabelError:
        digest = sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        kept = "".join(c if c.isprintable() else "?" for c in value[:MAX_LABEL])
        return clean(unicodedata.normalize("NFC", kept)[: MAX_LABEL - 9] + f"~{digest}")


def shown(value: str, longest: int = 64) -> str:
    """A stranger's text on a line for people: cut, and what does not print escaped."""
    return one_line(value if len(value) <= longest else value[:longest] + "...")
