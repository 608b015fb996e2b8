"""Books written as files again: applying what was exported changes nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from clickhouse_connect.driver.client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_agent.attribution.labels import shows
from gpuledger_collector.cli import cli
from gpuledger_collector.ledger.book import Book
from gpuledger_collector.ledger.export import FORMATS, export
from gpuledger_collector.ledger.kinds import Choice, Kind, Label, Moment, Number
from gpuledger_collector.ledger.prices import BOOK as PRICES
from gpuledger_collector.ledger.requests import BOOK as REQUESTS
from gpuledger_collector.ledger.slos import BOOK as SLOS
from gpuledger_collector.store.client import StoreConfig

BOOKS = {book.name: book for book in (REQUESTS, PRICES, SLOS)}

TRAPS = ("no", "1.10", "0x1F", "2026-01-01", "null", "a: b", "a, b", "'", '"', "#", "<<", "ü", "😀")

PROSE = st.sampled_from((*TRAPS, "\u26a0\ufe0f urgent")) | st.text(
    st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20
).filter(lambda text: text[0] not in "=+-@")
NAMES = PROSE.filter(lambda text: shows(text) and text.lower() != "unattributed")


def values(kind: Kind) -> st.SearchStrategy[str]:
    """Texts that a field takes."""
    match kind:
        case Label():
            return PROSE if kind.prose else NAMES
        case Number():
            return st.decimals(kind.lowest, kind.highest, places=kind.decimals).map(str)
        case Moment():
            year = 2050 if kind.end else 2000
            days_on = st.timedeltas(timedelta(days=1), timedelta(days=365 * 49))
            moments = days_on.map(lambda later: datetime(year, 1, 1, tzinfo=UTC) + later)
            days = moments.map(lambda moment: f"{moment:%Y-%m-%d}")
            return days | moments.map(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%SZ}")
        case Choice():
            return st.sampled_from(kind.options)
    raise TypeError(kind)


@st.composite
def files(draw: st.DrawFn, book: Book[Any]) -> str:
    """A file of one to three entries, as JSON."""
    entries = []
    for number in range(draw(st.integers(1, 3))):
        entry = {
            name: draw(values(kind))
            for name, kind in book.kinds.items()
            if kind.required or draw(st.booleans())
        }
        if "from" in entry and "until" in entry:
            entry["from"] = min(entry["from"], "2049-12-31")
        unique = "id" if "id" in entry else "from"
        entry[unique] = f"r{number}" if unique == "id" else f"20{10 + number}-01-01"
        entries.append(entry)
    return json.dumps({book.name: entries}, ensure_ascii=False)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", BOOKS)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_export_when_loaded_again_then_it_is_the_same_by_loader_and_schema(
    tmp_path_factory: pytest.TempPathFactory, name: str, form: str, data: st.DataObject
) -> None:
    book = BOOKS[name]
    folder = tmp_path_factory.mktemp("files")
    (folder / "first.json").write_text(data.draw(files(book)))
    records = book.load(folder / "first.json")
    text = export(book, records, form)
    (folder / f"again.{form}").write_text(text)
    assert book.load(folder / f"again.{form}") == records
    if form == "json":
        jsonschema.validate(json.loads(text), book.schema())


@pytest.mark.parametrize("form", FORMATS)
def test_export_when_applied_then_nothing_changes(
    client: Client, database: StoreConfig, tmp_path: Path, form: str
) -> None:
    path = tmp_path / "requests.yaml"
    path.write_text(
        "requests:\n"
        "  - {id: b, team: no, gpus: 0.125, from: 2026-01-01, until: 2099-12-31, model: 1.10}\n"
        "  - {id: a, team: search, gpus: 8, from: 2026-01-01T08:30:00+01:00, gpu_memory_gib: 40}\n"
    )
    REQUESTS.apply(client, REQUESTS.load(path))
    options = ["--clickhouse-url", database.url, "--database", database.database]
    result = CliRunner().invoke(cli, ["requests", "export", "--format", form, *options])
    assert result.exit_code == 0
    exported = tmp_path / f"exported.{form}"
    exported.write_text(result.stdout)
    assert [request.id for request in REQUESTS.load(exported)] == ["a", "b"]
    assert REQUESTS.apply(client, REQUESTS.load(exported)) == []


def test_export_when_days_are_whole_then_people_read_dates(tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    path.write_text("id,team,gpus,from,until\na,no,8.0,2026-01-01T00:00Z,2026-06-30\n")
    assert export(REQUESTS, REQUESTS.load(path), "yaml") == (
        "requests:\n- id: a\n  team: 'no'\n  gpus: 8\n  from: 2026-01-01\n  until: 2026-06-30\n"
        "  status: approved\n"
    )


def test_export_when_the_books_are_empty_then_the_file_is_an_empty_list() -> None:
    assert export(PRICES, [], "yaml") == "prices: []\n"
    assert export(PRICES, [], "csv") == "gpu_model,pool,usd_per_gpu_hour,from\n"


def test_prices_when_corrected_then_only_the_last_is_exported(client: Client) -> None:
    price = PRICES.record("H100", "", Decimal("2.5"), datetime(2026, 1, 1, tzinfo=UTC))
    corrected = PRICES.record("H100", "", Decimal("2.25"), datetime(2026, 1, 1, tzinfo=UTC))
    PRICES.apply(client, [price])
    PRICES.apply(client, [corrected])
    assert json.loads(export(PRICES, PRICES.read_current(client), "json")) == {
        "prices": [{"gpu_model": "H100", "usd_per_gpu_hour": 2.25, "from": "2026-01-01"}]
    }
