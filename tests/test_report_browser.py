"""The page of a review in a real browser: on a phone, on a desk and in print."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from gpuledger_collector.report import as_html
from gpuledger_collector.report.ask import ask
from gpuledger_collector.report.period import Period
from gpuledger_collector.store.client import connect
from tests.review_fleet import HOSTILE, SINCE, Books
from tests.rule_fleet import END

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: make runtimes")

PHONE, DESK = 360, 1280


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # As root there is no sandbox of Chromium's; the page is ours.
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def file(review_books: Books, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with connect(review_books.store) as client:
        report = ask(client, Period(SINCE, END), "", datetime.now(UTC))
    path = tmp_path_factory.mktemp("review") / "review.html"
    path.write_text(as_html.render(report), encoding="utf-8")
    return path


class Seen:
    """A page as it was opened, and what it asked for and complained of."""

    def __init__(self, browser: Browser, file: Path, width: int) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page: Page = browser.new_page(viewport={"width": width, "height": 800})
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())


@pytest.fixture(params=[PHONE, DESK])
def seen(request: pytest.FixtureRequest, browser: Browser, file: Path) -> Iterator[Seen]:
    opened = Seen(browser, file, request.param)
    yield opened
    opened.page.close()


def test_page_when_opened_then_it_asks_for_nothing_else_and_complains_of_nothing(
    seen: Seen, file: Path
) -> None:
    assert seen.requests == [file.as_uri()]
    # A style that the page's own policy forbids would be a complaint.
    assert seen.complaints == []
    assert seen.page.locator("img, script, iframe").count() == 0
    assert seen.page.get_by_text(HOSTILE, exact=True).count() > 0


def test_page_when_opened_with_all_its_sql_then_it_is_no_wider_than_the_screen(seen: Seen) -> None:
    seen.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    wide = seen.page.evaluate(
        "[...document.querySelectorAll('body *:not(pre *):not(svg *)')].filter("
        "e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 99))"
    )
    # The head of a table is hidden from eyes on a phone, not from screen readers.
    assert [element for element in wide if not element.startswith(("<thead", "<tr", "<th"))] == []
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_charts_when_shown_then_they_have_a_size_and_their_text_is_readable(seen: Seen) -> None:
    boxes = seen.page.evaluate(
        "[...document.querySelectorAll('figure svg')].map(s => [s.getBoundingClientRect().width,"
        " s.getBoundingClientRect().height, Math.min(...[...s.querySelectorAll('text')].map("
        "t => parseFloat(getComputedStyle(t).fontSize) * s.getScreenCTM().a))])"
    )
    assert len(boxes) == 8
    for width, height, text in boxes:
        assert width >= 300
        assert height >= 80
        assert text >= 8


def test_charts_when_shown_then_no_text_is_cut_off(seen: Seen) -> None:
    cut = seen.page.evaluate(
        "[...document.querySelectorAll('figure svg text')].filter(t => {"
        " const b = t.getBoundingClientRect(), s = t.ownerSVGElement.getBoundingClientRect();"
        " return b.left < s.left - 3 || b.right > s.right + 3 || b.bottom > s.bottom + 3;"
        "}).map(t => t.textContent)"
    )
    assert cut == []


def test_charts_when_asked_by_a_screen_reader_then_each_is_an_image_with_name_and_description(
    seen: Seen,
) -> None:
    images = seen.page.get_by_role("img")
    assert images.count() == 8
    for number in range(8):
        label = images.nth(number).evaluate(
            "s => s.getAttribute('aria-labelledby').split(' ').map("
            "i => document.getElementById(i).textContent).join(' ')"
        )
        assert len(label) > 40


def test_text_when_shown_then_it_stands_out_from_its_ground(seen: Seen) -> None:
    faint = seen.page.evaluate(CONTRAST)
    assert faint == []


CONTRAST = """
() => {
  const part = c => { c /= 255; return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4 };
  const light = rgb => { const [r, g, b] = rgb.match(/[\\d.]+/g).map(Number);
    return .2126 * part(r) + .7152 * part(g) + .0722 * part(b) };
  const ground = e => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c }
    return 'rgb(255, 255, 255)' };
  return [...document.querySelectorAll('body *:not(svg *)')]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
    .filter(e => { const a = light(getComputedStyle(e).color), b = light(ground(e));
      return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) < 4.5 })
    .map(e => e.outerHTML.slice(0, 80));
}
"""
"""Elements with text below the contrast that WCAG AA asks for, 4.5 to 1."""


def test_print_when_made_then_it_is_a_pdf_of_pages_without_the_sql(
    browser: Browser, file: Path, tmp_path: Path
) -> None:
    page = browser.new_page(viewport={"width": DESK, "height": 800})
    page.goto(file.as_uri())
    made = page.pdf(path=tmp_path / "review.pdf", prefer_css_page_size=True)
    page.emulate_media(media="print")
    assert page.locator("details").first.is_visible() is False
    assert page.locator("figure svg").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()
    assert made.startswith(b"%PDF-")
    assert made.count(b"/Type /Page\n") + made.count(b"/Type/Page/") in range(3, 20)
