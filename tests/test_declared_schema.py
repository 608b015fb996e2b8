"""The published JSON Schema: it takes what the loader takes, and refuses what it can express."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gpuledger_collector.cli import cli
from gpuledger_collector.ledger.declared import DeclarationError
from gpuledger_collector.ledger.prices import BOOK as PRICES
from gpuledger_collector.ledger.requests import BOOK as REQUESTS
from gpuledger_collector.ledger.slos import BOOK as SLOS

SCHEMA = Draft202012Validator(REQUESTS.schema())

ENTRY = "requests:\n  - id: a\n    team: search\n    gpus: 8\n    from: 2026-01-01\n"


class EditorLoader(yaml.SafeLoader):
    """Reads YAML as editors do: dates are text (YAML 1.2 knows none)."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in found if "timestamp" not in tag]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def readings(text: str) -> list[Any]:
    """The file with values typed, and with values as text, as from CSV."""
    return [yaml.load(text, reader) for reader in (EditorLoader, yaml.BaseLoader)]  # noqa: S506


@pytest.mark.parametrize("book", [REQUESTS, PRICES, SLOS], ids=lambda book: book.name)
def test_schema_when_printed_then_it_is_a_schema_with_every_field(book: Any) -> None:
    printed = CliRunner().invoke(cli, [book.name, "schema"])
    schema = json.loads(printed.stdout)
    Draft202012Validator.check_schema(schema)
    fields = schema["properties"][book.name]["items"]["properties"]
    assert list(fields) == list(book.kinds)
    assert all(field["description"] for field in fields.values())


@pytest.mark.parametrize(
    "more",
    [
        "",
        "    model: 1.10\n    endpoint: 0x1F\n    pool: ~\n    use_case: true\n    owner: ''\n",
        "    until: 2026-06-30T12:00:00+02:00\n    status: proposed\n    expected_sm_pct: 6e1\n",
        "    reason: 'a - in quotes'\n",
        "    gpu_memory_gib: .5\n    gpu_model: 80GB\n",
    ],
)
def test_schema_when_the_loader_takes_a_file_then_it_does_too(tmp_path: Path, more: str) -> None:
    path = tmp_path / "requests.yaml"
    path.write_text(ENTRY + more)
    assert len(REQUESTS.load(path)) == 1
    for reading in readings(ENTRY + more):
        SCHEMA.validate(reading)


@settings(deadline=None)
@given(
    field=st.sampled_from(list(REQUESTS.kinds)),
    value=st.text(max_size=12)
    | st.from_regex(r"[+-]?[0-9.]{1,8}(e-?[0-9])?", fullmatch=True)
    | st.from_regex(r"[0-9]{4}-[01][0-9]-[0-3][0-9](T[0-2][0-9]:[0-5][0-9]Z?)?", fullmatch=True),
    quoted=st.booleans(),
)
def test_schema_when_the_loader_takes_any_value_then_it_does_too(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: str, quoted: bool
) -> None:
    entry = {"id": "a", "team": "search", "gpus": "8", "from": "2026-01-01"} | {field: value}
    text = yaml.safe_dump({"requests": [entry]}, allow_unicode=True)
    if not quoted:
        text = text.replace(f"'{value}'", value)
    path = tmp_path_factory.mktemp("any") / "requests.yaml"
    path.write_text(text, "utf-8")
    with suppress(DeclarationError):
        REQUESTS.load(path)
        for reading in readings(text):
            SCHEMA.validate(reading)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- id: a\n",
        "requests: 3\n",
        "request: []\n",
        "requests:\n  - a\n",
        ENTRY + "more: []\n",
        ENTRY + "    tem: x\n",
        ENTRY + "    model: [a]\n",
        ENTRY + "    model: {a: b}\n",
        ENTRY + "    model: '=cmd()'\n",
        ENTRY + "    model: ' x'\n",
        ENTRY + "    model: 'x '\n",
        ENTRY + "    model: -5\n",
        ENTRY + '    model: "a\\nb"\n',
        ENTRY + f"    model: {'x' * 129}\n",
        ENTRY + f"    reason: {'x' * 1001}\n",
        ENTRY + "    status: maybe\n",
        ENTRY + "    expected_sm_pct: 101\n",
        ENTRY + "    expected_sm_pct: high\n",
        ENTRY + "    gpu_memory_gib: 0\n",
        ENTRY + "    until: tomorrow\n",
        ENTRY + "    until: 1999-01-01\n",
        ENTRY.replace("search", "Unattributed"),
        ENTRY.replace("search", "''"),
        ENTRY.replace("search", "~"),
        ENTRY.replace("    team: search\n", ""),
        ENTRY.replace("gpus: 8", "gpus: 0"),
        ENTRY.replace("gpus: 8", "gpus: 1000001"),
        ENTRY.replace("gpus: 8", "gpus: '8 GPUs'"),
        ENTRY.replace("gpus: 8", "gpus: true"),
        ENTRY.replace("2026-01-01", "2026-13-01"),
        ENTRY.replace("2026-01-01", "20260101"),
        ENTRY.replace("2026-01-01", "2026-01-01T08"),
    ],
    ids=lambda text: text[-40:],
)
def test_schema_when_a_file_is_wrong_then_loader_and_schema_refuse_it(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "requests.yaml"
    path.write_text(text)
    with pytest.raises(DeclarationError):
        REQUESTS.load(path)
    assert not SCHEMA.is_valid(readings(text)[0])


def test_schema_when_a_list_is_longer_than_the_loader_takes_then_it_refuses_it() -> None:
    [entry] = readings(ENTRY)[0]["requests"]
    assert SCHEMA.is_valid({"requests": [entry] * 10_000})
    assert not SCHEMA.is_valid({"requests": [entry] * 10_001})
