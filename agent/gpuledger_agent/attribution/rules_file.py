"""Files of rules (TOML): the operator's, and the one that comes with the agent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TypeVar

from gpuledger_agent import toml
from gpuledger_agent.attribution.globs import Globs
from gpuledger_agent.attribution.labels import shown
from gpuledger_agent.attribution.rules import NAMES, Rule, Rules, Stage
from gpuledger_agent.attribution.template import NAMED, Reference, Template

MAX_BYTES = 1 << 20
"""Of a file."""

MAX_RULES = 1_000
"""Of a file."""

MAX_TEXT = 1_024
"""Characters of a pattern or a template."""

BUILT_IN = "default_rules.toml"

CONDITIONS = ("source", "kind", "workload", "image", "namespace", "user", "command")
"""Conditions on a fact that has no name; those on `label` and `env` have one."""

_STAGES = (Stage.OVERRIDE, Stage.FALLBACK)
_KEYS = ("name", *(stage.value for stage in _STAGES), *CONDITIONS, *NAMED, *NAMES)
_HEADER = re.compile(r"\s*\[\[\s*rule\s*\]\]")
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_T = TypeVar("_T")


class RulesError(ValueError):
    """A file that cannot be taken. `problems`: one line each, `FILE:LINE: what; remedy`."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


@dataclass(frozen=True, slots=True)
class RulesFile:
    """What a file holds. `builtin`: whether the rules that come with the agent follow."""

    rules: tuple[Rule, ...]
    builtin: bool = True


def load(path: Path | None = None) -> Rules:
    """The rules of this file, if any, then those that come with the agent. Raises RulesError."""
    own = parse(_read(path), str(path)) if path else RulesFile(())
    return Rules((*own.rules, *(built_in() if own.builtin else ())))


def built_in() -> tuple[Rule, ...]:
    """The rules that come with the agent."""
    text = (resources.files(__package__) / BUILT_IN).read_text("utf-8")
    rules = parse(text, BUILT_IN).rules
    return tuple(replace(rule, name=f"built-in: {rule.name}") for rule in rules)


def parse(text: str, file: str) -> RulesFile:
    """What the text of a file says. Raises RulesError with all that is wrong."""
    problems = _Problems(file)
    document: dict[str, object] = {}
    try:
        document = toml.loads(text)
    except ValueError as error:
        at = _AT_LINE.search(str(error))
        what = shown(str(error), 200)
        problems.add(int(at[1]) if at else 0, f"is not TOML: {what}; correct it")
    for key in sorted(document.keys() - {"rule", "builtin"}):
        problems.add(0, f"{shown(key)}: is not a setting; take [[rule]] or builtin")
    builtin = document.get("builtin", True)
    if not isinstance(builtin, bool):
        problems.add(0, "builtin: is neither true nor false; write one of them")
    tables = _tables(document, problems)
    lines = _header_lines(text, len(tables))
    rules = [
        _Reader(problems, line, number, table).rule()
        for number, (line, table) in enumerate(zip(lines, tables, strict=True), 1)
    ]
    problems.raise_any()
    return RulesFile(tuple(rules), bool(builtin))


class _Problems:
    """What is wrong with one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: list[tuple[int, str]] = []

    def add(self, line: int, what: str) -> None:
        """Note `what; remedy` about a line (the first is 1; 0 if it is not known)."""
        self._found.append((line, what))

    def raise_any(self) -> None:
        """Raise RulesError if anything was noted."""
        if self._found:
            raise RulesError(
                [f"{self.file}{f':{line}' if line else ''}: {what}" for line, what in self._found]
            )


class _Reader:
    """Reads the table of one rule; notes what is wrong and goes on."""

    def __init__(
        self, problems: _Problems, line: int, number: int, table: Mapping[str, object]
    ) -> None:
        self._problems = problems
        self._line = line
        self._table = table
        self._where = f"rule {number}"
        self._name = f"{Path(problems.file).name} rule {number}"
        name = table.get("name")
        if isinstance(name, str) and name.strip():
            self._name = shown(name.strip())
            self._where += f" ({self._name})"

    def rule(self) -> Rule:
        """The rule, as far as it can be read."""
        for key in sorted(self._table.keys() - set(_KEYS)):
            self._note(key, f"is not a key; take one of {', '.join(_KEYS)}")
        if not isinstance(self._table.get("name", ""), str):
            self._note("name", "is not text; put it in quotes")
        fields = {key: self._all(key, self._table[key], Template.parse) for key in self._fields()}
        return Rule(self._name, tuple(self._conditions()), fields, self._stage())

    def _fields(self) -> list[str]:
        found = [key for key in NAMES if key in self._table]
        if not found:
            self._problems.add(
                self._line,
                f"{self._where}: names no owner; add at least one of {', '.join(NAMES)}",
            )
        return found

    def _stage(self) -> Stage:
        chosen = []
        for stage in _STAGES:
            value = self._table.get(stage.value, False)
            if not isinstance(value, bool):
                self._note(stage.value, "is neither true nor false; write one of them")
            elif value:
                chosen.append(stage)
        if len(chosen) > 1:
            self._note("fallback", "contradicts override; delete one")
        return chosen[0] if chosen else Stage.USUAL

    def _conditions(self) -> Iterator[tuple[Reference, Globs]]:
        for key in CONDITIONS:
            if key in self._table:
                yield Reference(key), self._globs(key, self._table[key])
        for kind in NAMED:
            table = self._table.get(kind, {})
            if not isinstance(table, dict):
                self._note(kind, f'lacks a name; write {kind}."NAME" = "PATTERN"')
                continue
            for name, value in table.items():
                key = f'{kind}."{name}"'
                if isinstance(value, dict):
                    self._note(key, f'goes on after a dot; write {kind}."{name}...", in quotes')
                elif not name:
                    self._note(key, f'lacks a name; write {kind}."NAME" = "PATTERN"')
                else:
                    yield Reference(kind, name), self._globs(key, value)

    def _globs(self, key: str, value: object) -> Globs:
        return Globs(self._all(key, value, _pattern))

    def _all(self, key: str, value: object, read: Callable[[str], _T]) -> tuple[_T, ...]:
        """Text, or a list of texts, each read; notes what cannot be."""
        values = value if isinstance(value, list) else [value]
        texts = [text for text in values if isinstance(text, str)]
        if not texts or len(texts) < len(values):
            self._note(key, 'is not text; write "..." or ["...", "..."]')
            return ()
        found = []
        for text in texts:
            try:
                if len(text) > MAX_TEXT:
                    raise ValueError(f"is longer than {MAX_TEXT} characters; shorten it")
                found.append(read(text))
            except ValueError as error:
                self._note(key, str(error))
        return tuple(found)

    def _note(self, key: str, what: str) -> None:
        self._problems.add(self._line, f"{self._where}: {shown(key)}: {what}")


def _pattern(text: str) -> str:
    Globs([text])
    return text


def _read(path: Path) -> str:
    problems = _Problems(str(path))
    raw = b""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        problems.add(0, f"cannot be read: {error.strerror}; name a file that can be")
    if len(raw) > MAX_BYTES:
        problems.add(0, f"is larger than {MAX_BYTES >> 20} MiB; shorten it")
    problems.raise_any()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problems.add(line, "is not UTF-8 text; save the file as UTF-8")
        problems.raise_any()
        raise


def _tables(document: Mapping[str, object], problems: _Problems) -> list[dict[str, object]]:
    tables = document.get("rule", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        problems.add(0, "rule: is not a list of tables; start each rule with [[rule]]")
        return []
    if len(tables) > MAX_RULES:
        problems.add(0, f"holds {len(tables)} rules; {MAX_RULES:,} are the most")
        return []
    return tables


def _header_lines(text: str, count: int) -> list[int]:
    """The line of each rule's header; zeros where the file writes rules in another way."""
    lines = [n for n, line in enumerate(text.split("\n"), 1) if _HEADER.match(line)]
    return lines if len(lines) == count else [0] * count
