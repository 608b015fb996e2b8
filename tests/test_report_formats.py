"""Each format holds every figure, and no name in the books can do harm in it."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from gpuledger_collector.report import as_csv, as_html, as_json, as_markdown
from gpuledger_collector.report.ask import ask
from gpuledger_collector.report.looks import MOST_BARS
from gpuledger_collector.report.model import Report
from gpuledger_collector.report.period import Period
from gpuledger_collector.report.service_charts import FULL_PCT, apart
from gpuledger_collector.report.traffic import traffic
from gpuledger_collector.store.client import connect
from tests.review_fleet import FORMULA, HOSTILE, MATHS, SINCE, Books
from tests.rule_fleet import END

VOID = {"meta", "link", "img", "br", "hr", "input"}


@pytest.fixture(scope="module")
def report(review_books: Books) -> Report:
    with connect(review_books.store) as client:
        return ask(client, Period(SINCE, END), "", datetime.now(UTC))


class Page(HTMLParser):
    """Elements and attributes of a page, and the text of its cells."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data


@pytest.fixture(scope="module")
def page(report: Report) -> Page:
    return Page(as_html.render(report))


def test_page_when_names_are_hostile_then_they_are_text_and_no_element_runs(page: Page) -> None:
    assert page.open == []
    assert not {"script", "img", "iframe", "object", "embed", "link", "a:href"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    cells = page.texts["th"] + page.texts["td"]
    assert {HOSTILE, f"{FORMULA} · {MATHS}"} <= set(cells)


def test_page_when_read_then_nothing_in_it_comes_from_elsewhere(page: Page) -> None:
    places = [v for n, v in page.attributes if n in {"href", "src", "action", "xlink:href", "data"}]
    assert [place for place in places if not place.startswith("#")] == []
    assert not [
        v for n, v in page.attributes if n == "style" or v.count("url(") != v.count("url(#")
    ]
    policy = next(v for _, v in page.attributes if v.startswith("default-src"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_page_when_it_has_charts_then_each_says_in_words_what_it_shows_and_ids_are_unique(
    page: Page,
) -> None:
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    labelled = [v for n, v in page.attributes if n == "aria-labelledby"]
    assert set(" ".join(labelled).split()) <= set(ids)
    drawings = page.tags.count("svg")
    assert drawings == 8
    assert len(page.texts["desc"]) == drawings
    assert all(any(c.isdigit() for c in text) for text in page.texts["desc"])
    assert len(page.texts["figcaption"]) == drawings
    referred = [v[5:-1] for _, v in page.attributes if v.startswith("url(#")]
    assert set(referred) <= set(ids)


@pytest.mark.parametrize("form", ["html", "markdown", "json"])
def test_sql_when_a_report_is_made_then_every_statement_stands_in_it(
    report: Report, page: Page, form: str
) -> None:
    statements = {answer.sql for answer in report.answers.values()}
    match form:
        case "html":
            shown = set(page.texts["code"])
        case "json":
            sections = json.loads(as_json.render(report))["sections"]
            shown = {section["sql"] for section in sections.values()}
        case _:
            tokens = MarkdownIt().parse(as_markdown.render(report))
            shown = {token.content.rstrip("\n") for token in tokens if token.type == "fence"}
    assert shown == statements


def test_markdown_when_names_are_hostile_then_it_renders_them_as_text(report: Report) -> None:
    reader = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    tokens = reader.parse(as_markdown.render(report))
    inline = [child for token in tokens for child in token.children or ()]
    assert not [t for t in (*tokens, *inline) if t.type in {"html_block", "html_inline", "image"}]
    assert not [t for t in inline if t.type in {"link_open", "em_open"}]
    cells = set(_cells(tokens))
    assert {HOSTILE, f"{FORMULA} · {MATHS}"} <= cells


def _cells(tokens: list[Token]) -> list[str]:
    pairs = pairwise(tokens)
    return [
        "".join(child.content for child in inside.children or ())
        for opening, inside in pairs
        if opening.type == "td_open"
    ]


@given(st.text(max_size=40))
@example("1. a\n# b\n- c")
@example("a_b_c ~~d~~ :e: &amp; <f@g.h>")
def test_markdown_when_any_text_is_escaped_then_it_reads_as_it_was_on_one_line(text: str) -> None:
    reader = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    [opening, inside, closing] = reader.parse(f"x{as_markdown.escaped(text)}x")
    assert (opening.type, closing.type) == ("paragraph_open", "paragraph_close")
    assert {child.type for child in inside.children or ()} <= {"text", "text_special"}
    read = "".join(child.content for child in inside.children or ())
    assert read == "x" + "".join(c if c.isprintable() else " " for c in text) + "x"


def test_csv_when_read_then_it_is_one_tidy_table_that_no_spreadsheet_calculates(
    report: Report,
) -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv.render(report))))
    names = {line["metric"] for line in lines} | {line["section"] for line in lines}
    assert names
    for line in lines:
        for name, cell in line.items():
            assert cell[:1] not in {"=", "+", "@", "\t", "\r", "\n"}, (name, cell)
            assert not cell.startswith("-") or math.isfinite(float(cell))
    hostile = [line for line in lines if line["model"] == f"'{FORMULA}"]
    assert {line["metric"] for line in hostile} >= {"waste_gpu_hours", "mem_mib_p99"}
    [waste] = [x for x in hostile if (x["metric"], x["period"]) == ("waste_gpu_hours", "this")]
    assert (waste["section"], waste["team"], waste["unit"]) == (
        "books", HOSTILE, "GPU-hours",
    )  # fmt: skip
    assert float(waste["value"]) == 4


def test_csv_when_compared_with_json_then_it_has_the_same_figures(report: Report) -> None:
    sections = json.loads(as_json.render(report))["sections"]
    expected = [
        value
        for section in sections.values()
        for row in section["rows"]
        for column, value in row.items()
        if column not in section["keys"]
    ]
    lines = list(csv.DictReader(io.StringIO(as_csv.render(report))))
    assert len(lines) == len(expected)
    for line, value in zip(lines, expected, strict=True):
        if isinstance(value, int | float):
            assert float(line["value"]) == value
        elif value is None:
            assert line["value"] == ""


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1"]
)
def test_csv_when_a_name_begins_as_a_formula_then_an_apostrophe_stands_before_it(
    text: str,
) -> None:
    assert as_csv._cell(text) == f"'{text}"


def test_page_and_markdown_when_no_price_is_known_then_they_say_unknown(
    report: Report, page: Page
) -> None:
    speech = next(i for i, text in enumerate(page.texts["th"]) if text == "speech")
    assert page.texts["th"][speech] == "speech"
    text = as_markdown.render(report).replace("\\", "")
    [line] = [row for row in text.splitlines() if row.startswith("| speech | 0 | 0 | 2 | 2 |")]
    assert line.count("unknown") == 4


def test_charts_of_service_when_read_out_then_they_say_verdicts_and_shares(page: Page) -> None:
    told = "\n".join(page.texts["desc"])
    assert "Verdict, attainment and load: chat tune, 0 % at load 50 %." in told
    assert "Percent of requests and of GPUs: ranker 66.7 and 75; =HYPERLINK" in told


def test_page_when_few_models_carry_the_traffic_then_it_says_how_many(report: Report) -> None:
    answer = report.answers["traffic"]
    shares = [(95, 95, 30), (4, 99, 60), (1, 100, 100)]
    names = ("request_share_pct", "cumulative_request_share_pct", "cumulative_gpu_share_pct")
    rows = tuple({**answer.rows[0], **dict(zip(names, row, strict=True))} for row in shares)
    answers = {**report.answers, "traffic": replace(answer, rows=rows)}
    [lead] = traffic(replace(report, answers=answers)).lead[1:]
    assert lead == (
        "1 of 3 models carries 95 % of the requests, with 30 % of the GPU time allocated to all of"
        " them."
    )


def test_zones_when_drawn_then_they_end_where_the_verdict_changes(report: Report) -> None:
    assert f"missed_load_pct < {FULL_PCT}, 'tune'" in report.answers["slo"].sql


@given(st.lists(st.floats(0, 100), max_size=MOST_BARS))
def test_names_when_marks_lie_on_one_another_then_each_has_a_line_of_its_own(
    values: list[float],
) -> None:
    places = apart(sorted(values, reverse=True))
    assert all(0 <= place <= 100 for place in places)
    assert all(above - below >= 7.99 for above, below in pairwise(places))
