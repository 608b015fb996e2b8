"""Rules: one SQL file each in `gpuledger_sql/rules`, and what an operator sets in them.

A file begins with its header, TOML in `--` comments: description, remedy, severity and a table of
thresholds, which the SQL takes as query parameters of their names. The SQL also takes `now`, and
answers with COLUMNS, one row a subject.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from gpuledger_agent import toml
from gpuledger_collector.ledger.declared import DeclarationError, Problems, read_text

SEVERITIES = ("info", "warning", "critical")
"""The least urgent first."""

COLUMNS = ("subject", "team", "pool", "usd", "evidence")
"""What a rule's SQL answers with: see `finding_versions`."""

_PARAMETER = re.compile(r"\{(\w+):(?:Float64|String)\}")
_SETTINGS = ("enabled", "severity")


@dataclass(frozen=True, slots=True)
class Threshold:
    """A value that the operator may set; of the type of its default."""

    name: str
    value: float | str
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `remedy` says what to do; a rule that is not `enabled` finds nothing."""

    name: str
    description: str
    remedy: str
    severity: str
    thresholds: tuple[Threshold, ...]
    sql: str
    enabled: bool = True

    def parameters(self) -> dict[str, float | str]:
        """What the SQL takes, `now` left out."""
        return {threshold.name: threshold.value for threshold in self.thresholds}


def load(config: Path | None = None) -> tuple[Rule, ...]:
    """All rules by name, set as this TOML file says. Raises DeclarationError."""
    rules = built_in()
    if config is None:
        return rules
    problems = Problems(config)
    tables = _tables(read_text(config, problems), problems)
    names = [rule.name for rule in rules]
    for name in tables.keys() - set(names):
        problems.add(0, f"[{name}]: is no rule; take one of {', '.join(names)}")
    found = tuple(_configured(rule, tables.get(rule.name, {}), problems) for rule in rules)
    problems.raise_any()
    return found


def built_in() -> tuple[Rule, ...]:
    """All rules by name, with their defaults."""
    folder = resources.files("gpuledger_sql") / "rules"
    files = {file.name: file for file in folder.iterdir() if file.name.endswith(".sql")}
    return tuple(parse(n.removesuffix(".sql"), files[n].read_text("utf-8")) for n in sorted(files))


def parse(name: str, text: str) -> Rule:
    """The rule in the text of a file. Raises ValueError unless header and SQL agree."""
    lines = text.splitlines()
    end = next((n for n, line in enumerate(lines) if not line.startswith("--")), len(lines))
    header = toml.loads("\n".join(line[2:].strip() for line in lines[:end]))
    sql = "\n".join(lines[end:])
    thresholds = tuple(
        Threshold(key, _typed(said["default"]), said["unit"], said["meaning"])
        for key, said in header.get("thresholds", {}).items()
    )
    rule = Rule(name, header["description"], header["remedy"], header["severity"], thresholds, sql)
    if rule.severity not in SEVERITIES:
        raise ValueError(f"{name}: severity {rule.severity!r} is none of {', '.join(SEVERITIES)}")
    if odd := rule.parameters().keys() ^ set(_PARAMETER.findall(sql)):
        raise ValueError(f"{name}: in the header or in the SQL alone: {', '.join(sorted(odd))}")
    return rule


def _typed(value: object) -> float | str:
    return value if isinstance(value, str) else float(str(value))


def _tables(text: str, problems: Problems) -> dict[str, Mapping[str, object]]:
    try:
        document = toml.loads(text)
    except ValueError as error:
        problems.add(0, f"is not TOML: {' '.join(str(error).split())[:200]}; correct it")
        raise DeclarationError(f"{problems.path}: {what}" for _, what in problems.found) from error
    for key in [key for key, value in document.items() if not isinstance(value, dict)]:
        problems.add(0, f"{key}: stands outside of a rule; write it below [RULE]")
        del document[key]
    return document


def _configured(rule: Rule, table: Mapping[str, object], problems: Problems) -> Rule:
    known = (*_SETTINGS, *rule.parameters())
    for key in sorted(table.keys() - set(known)):
        problems.add(0, f"[{rule.name}] {key}: is no setting; take one of {', '.join(known)}")
    enabled = table.get("enabled", True)
    severity = table.get("severity", rule.severity)
    if not isinstance(enabled, bool):
        problems.add(0, f"[{rule.name}] enabled: is neither true nor false; write one of them")
    if severity not in SEVERITIES:
        problems.add(0, f"[{rule.name}] severity: take one of {', '.join(SEVERITIES)}")
    thresholds = tuple(
        replace(t, value=_value(rule, t, table[t.name], problems)) if t.name in table else t
        for t in rule.thresholds
    )
    return replace(rule, enabled=bool(enabled), severity=str(severity), thresholds=thresholds)


def _value(rule: Rule, threshold: Threshold, given: object, problems: Problems) -> float | str:
    place = f"[{rule.name}] {threshold.name}:"
    if isinstance(threshold.value, str):
        if not isinstance(given, str):
            problems.add(0, f"{place} is not text; write it in quotes")
        return str(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        problems.add(0, f"{place} is not a number; write {threshold.unit} in digits")
        return threshold.value
    highest = 100.0 if threshold.unit == "percent" else 1e9
    if not math.isfinite(given) or not 0 < given <= highest:
        problems.add(0, f"{place} is out of range; take more than 0, up to {highest:.0f}")
    return float(given)
