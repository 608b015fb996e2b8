"""The text that a server answers with, made samples: the wanted ones alone, within limits.

prometheus_client parses it. What nobody wants is left out before that, line by line: it is most of
the text, parsing is what costs, and a stranger's nonsense there is none of our business.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from io import BytesIO
from itertools import islice

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from gpuledger_agent.serving.errors import ScrapeError

MAX_LINES = 100_000
"""Of a text. The metrics of a whole Ray node are some ten thousand."""

MAX_SAMPLES = 4_000
"""Wanted samples of a text."""

MAX_LINE_BYTES = 4_096
"""Of a wanted line: the parser takes time by the square of it."""

MAX_WANTED_BYTES = 1 << 19
"""Of all wanted lines: more than a hundred bytes for each sample."""

OPENMETRICS = "application/openmetrics-text"


def samples(body: bytes, content_type: str, wanted: AbstractSet[bytes]) -> list[Sample]:
    """The samples of these names. Raises ScrapeError."""
    lines = list(_wanted_lines(body, wanted))
    openmetrics = content_type.partition(";")[0].strip().lower() == OPENMETRICS
    if openmetrics:
        text = "\n".join([*(line.decode("utf-8", "replace") for line in lines), "# EOF\n"])
        families = openmetrics_families(text)  # type: ignore[no-untyped-call]
    else:
        # Types are left out: the parser would add _total to the names of counters.
        kept = (line for line in lines if not line.startswith(b"#"))
        text = "\n".join(line.decode("utf-8", "replace") for line in kept)
        families = text_string_to_metric_families(text)
    try:
        found = list(
            islice((sample for family in families for sample in family.samples), MAX_SAMPLES + 1)
        )
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise ScrapeError("malformed", f"is no text of Prometheus: {error!s:.200}") from error
    return found


def _wanted_lines(body: bytes, wanted: AbstractSet[bytes]) -> Iterator[bytes]:
    if body.count(b"\n") > MAX_LINES:
        raise ScrapeError("too_many", f"has over {MAX_LINES:,} lines")
    count = size = 0
    for line in BytesIO(body):
        if line.startswith(b"#"):
            name = _typed(line)
            if not name or not any(name + ending in wanted for ending in _ENDINGS):
                continue
        elif line.split(b"{", 1)[0].split(b" ", 1)[0].split(b"\t", 1)[0] not in wanted:
            continue
        else:
            count += 1
        size += len(line)
        if count > MAX_SAMPLES or size > MAX_WANTED_BYTES or len(line) > MAX_LINE_BYTES:
            raise ScrapeError("too_many", f"has over {MAX_SAMPLES:,} series, or long ones")
        yield line.rstrip(b"\r\n")


_ENDINGS = (b"", b"_total", b"_bucket")


def _typed(line: bytes) -> bytes:
    """The family whose type a comment tells; b"" for any other comment."""
    words = line.split(b" ", 3)
    return words[2] if len(words) == 4 and words[:2] == [b"#", b"TYPE"] else b""
