"""The threat model names the tests that hold its defences; they must be there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
MODEL = TESTS.parent / "docs" / "threat-model.md"


def test_defences_when_they_name_tests_then_these_exist() -> None:
    rows = [line for line in MODEL.read_text().splitlines() if line.startswith("|")]
    held = [line.split("|")[-2] for line in rows if "`test_" in line]
    named = {name for cell in held for name in re.findall(r"`(test_\w+(?:\.py)?)`", cell)}
    files = list(TESTS.rglob("test_*.py"))
    there = {file.name for file in files} | {
        name
        for file in files
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert named - there == set()
    assert len(named) > 30


def test_threats_when_listed_then_each_says_what_stands_against_it_and_which_test_holds_it() -> (
    None
):
    tables = MODEL.read_text().split("| threat |")[1:]
    threats = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for table in tables
        for line in table.split("\n\n")[0].splitlines()[2:]
    ]
    assert len(threats) > 20
    for threat, stands, _, held in threats:
        assert threat
        assert stands
        assert "`test_" in held, threat
