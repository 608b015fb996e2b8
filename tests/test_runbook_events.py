"""The runbook has each line of the log that wants an operator, and none that no daemon writes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
EVENT = re.compile(r"^event=(\w+)")
QUIET = ("info", "debug", "over")


def events(package: str) -> tuple[set[str], set[str]]:
    """All events of a daemon's log, and those of them that are never at WARNING or above."""
    found, quiet, loud = set(), set(), set()
    for path in (ROOT / package).rglob("*.py"):
        tree = ast.parse(path.read_text())
        hushed = {
            id(node)
            for call in ast.walk(tree)
            if isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr in QUIET
            for node in ast.walk(call)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for event in EVENT.findall(node.value):
                    found.add(event)
                    (quiet if id(node) in hushed else loud).add(event)
    return found, quiet - loud


def listed(title: str) -> list[str]:
    section = RUNBOOK.split(f"## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_runbook_when_the_agent_warns_of_something_then_it_is_there_once() -> None:
    found, quiet = events("agent")
    assert {"started", "gpu_back", "spool_writable"} <= quiet
    assert sorted(listed("Lines of the agent's log")) == sorted(found - quiet)


def test_runbook_when_the_collector_warns_of_something_then_it_is_there_once() -> None:
    found, quiet = events("collector")
    assert {"serving", "store_works_again"} <= quiet
    assert sorted(listed("Lines of the collector's log")) == sorted(found - quiet)


def test_runbook_when_it_names_an_event_then_a_daemon_logs_it() -> None:
    logged = events("agent")[0] | events("collector")[0]
    assert set(re.findall(r"event=(\w+)", RUNBOOK)) <= logged
