"""A review as Markdown, for a wiki, a mail or a pull request; charts are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpuledger_collector.report.document import Section, Table
from gpuledger_collector.report.model import Answer, Report
from gpuledger_collector.report.review import review

_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-!|~&:@=.$^])")


def render(report: Report) -> str:
    """The review, and the SQL of every figure in an appendix."""
    return "\n".join(_lines(report)) + "\n"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return _SPECIAL.sub(r"\\\1", line)


def _lines(report: Report) -> Iterator[str]:
    document = review(report)
    yield f"# {escaped(document.title)}"
    for sentence in document.about:
        yield from ("", escaped(sentence))
    yield ""
    for figure in document.figures:
        yield f"- {figure.title}: **{escaped(figure.value)}** ({escaped(figure.beside)})"
    for section in document.sections:
        yield from _section(section)
    yield from ("", "## The SQL of every figure")
    yield from ("", "Each runs as printed in `clickhouse client`, in the database of the books.")
    for answer in report.answers.values():
        yield from _sql(answer)


def _section(section: Section) -> Iterator[str]:
    yield from ("", f"## {section.title}")
    for sentence in section.lead:
        yield from ("", escaped(sentence))
    for shown in section.tables:
        yield from _table(shown)
    if section.answers:
        yield from ("", f"SQL: {', '.join(f'`{name}`' for name in section.answers)} below.")


def _table(shown: Table) -> Iterator[str]:
    yield from ("", f"### {shown.caption}", "")
    titles = [f"{c.title} ({c.unit})" if c.unit else c.title for c in shown.columns]
    yield _row(titles)
    yield "|" + "|".join("---:" if c.numeric else "---" for c in shown.columns) + "|"
    for row in shown.rows:
        yield _row(row)
    if shown.left_out:
        yield from ("", f"{shown.left_out:,} more: --format json has all.")


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(map(escaped, cells)) + " |"


def _sql(answer: Answer) -> Iterator[str]:
    longest = max((len(run) for run in re.findall("`+", answer.sql)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from ("", f"### {answer.name}: {answer.title}", "", f"{fence}sql", answer.sql, fence)
