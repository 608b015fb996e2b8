"""Files as spreadsheets, editors and tired people leave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuledger_collector.ledger import requests
from tests.test_requests_files import ENTRY, loaded, problems

TABLE = "id,team,gpus,from\na,search,8,2026-01-01\n"


@pytest.mark.parametrize("ends", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(("name", "text"), [("r.yaml", ENTRY), ("r.csv", TABLE)])
def test_load_when_an_editor_left_its_marks_then_the_file_reads_the_same(
    tmp_path: Path, name: str, text: str, mark: str, ends: str
) -> None:
    path = tmp_path / name
    path.write_bytes((mark + text.replace("\n", ends)).encode())
    assert requests.BOOK.load(path) == loaded(tmp_path, ENTRY)


@pytest.mark.parametrize(("name", "text"), [("r.yaml", ENTRY), ("r.csv", TABLE)])
@pytest.mark.parametrize(("encoding", "team"), [("utf-16", "search"), ("cp1252", "caf\xe9")])
def test_load_when_it_is_not_utf_8_then_it_says_how_to_save_it(
    tmp_path: Path, name: str, text: str, encoding: str, team: str
) -> None:
    [problem] = problems(tmp_path, text.replace("search", team).encode(encoding), name)
    assert problem.endswith("is not UTF-8 text; save the file as UTF-8")


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_load_when_a_spreadsheet_separates_by_something_else_then_that_alone_is_told(
    tmp_path: Path, mark: str, name: str
) -> None:
    told = problems(tmp_path, TABLE.replace(",", mark), "r.csv")
    assert told == [f"1: has {name} between its columns; separate them by commas"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (ENTRY + "    <<: {team: x}\n", "6: <<: must be a single value"),
        (ENTRY + "    <<: x\n", "6: <<: is not a field"),
        ("requests:\n  - &a {id: a}\n  - <<: *a\n", "2: uses an anchor or alias"),
        (ENTRY + "---\n" + ENTRY, "6: is not valid YAML: "),
        (ENTRY + "    'team': x\n", "6: team: stands twice in one entry"),
        ("requests:\n  - ? [a]\n    : b\n", "2: id: is missing"),
        ("requests:\n", "1: requests: must be a list"),
        (ENTRY.replace("search", "se\u202earch"), "3: team: holds characters that do not print"),
    ],
)
def test_load_when_yaml_is_too_clever_then_the_line_says_so(
    tmp_path: Path, text: str, problem: str
) -> None:
    assert problems(tmp_path, text)[0].startswith(problem)


@pytest.mark.parametrize(
    "written",
    [
        *("01/31/2026", "31.01.2026", "2026-1-1", "46023", "2026-W01-1", "08:00", "2026-001"),
        *("2026-01-01T08", "2026-01-01t08:00z", "2026-01-01T08:00 CET", "2026-01-01T24:00"),
        *("2026-06-30T23:59:60Z", "2026-01-01T08:00+25:00", "2026-01-01T08:00:00.5Z"),
        *("\u0662\u0660\u0662\u0666-01-01", "2026\u201301\u201301", "now", "2026-00-10"),
    ],
)
@pytest.mark.parametrize(("name", "text"), [("r.yaml", ENTRY), ("r.csv", TABLE)])
def test_load_when_a_date_has_another_form_then_it_is_refused(
    tmp_path: Path, name: str, text: str, written: str
) -> None:
    [problem] = problems(tmp_path, text.replace("2026-01-01", written), name)
    assert problem.split(":")[1] == " from"


@pytest.mark.parametrize("written", ["NaN", "Infinity", "1e400", "\u0668", "8 ", "9" * 5_000, "-0"])
def test_load_when_a_cell_is_no_number_of_gpus_then_it_is_refused(
    tmp_path: Path, written: str
) -> None:
    [problem] = problems(tmp_path, TABLE.replace(",8,", f",{written},"), "r.csv")
    assert problem.startswith("2: gpus: ")
    assert len(problem) < 120


def test_load_when_a_column_is_unknown_then_the_nearest_is_named(tmp_path: Path) -> None:
    text = "id,team,gpus,from,untill\na,search,8,2026-01-01,2026-02-01\n"
    assert problems(tmp_path, text, "r.csv") == ["2: untill: is not a field; did you mean until?"]
