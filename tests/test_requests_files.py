"""Files of requests and prices: what is right is read, what is wrong is named, all at once."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuledger_collector.ledger import prices, requests
from gpuledger_collector.ledger.declared import DeclarationError

ENTRY = "requests:\n  - id: a\n    team: search\n    gpus: 8\n    from: 2026-01-01\n"


def problems(tmp_path: Path, text: str | bytes, name: str = "requests.yaml") -> list[str]:
    """What `load` says of a file, without its path."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DeclarationError) as caught:
        requests.BOOK.load(path)
    assert all(line.startswith(f"{path}:") for line in caught.value.problems)
    return [line.removeprefix(f"{path}:") for line in caught.value.problems]


def loaded(
    tmp_path: Path, text: str, name: str = "requests.yaml"
) -> list[requests.CapacityRequest]:
    path = tmp_path / name
    path.write_text(text)
    return requests.BOOK.load(path)


def test_load_when_yaml_is_right_then_every_field_is_read(tmp_path: Path) -> None:
    [request] = loaded(
        tmp_path,
        ENTRY + "    model: ranker\n    endpoint: chat\n    use_case: batch\n    pool: production\n"
        "    gpu_model: H100\n    gpu_memory_gib: 72\n    expected_sm_pct: 62.5\n"
        "    until: 2026-06-30\n    status: proposed\n    owner: ann\n    reason: launch\n",
    )
    assert request == requests.CapacityRequest(
        id="a",
        team="search",
        model="ranker",
        endpoint="chat",
        use_case="batch",
        pool="production",
        gpu_model="H100",
        gpus=Decimal(8),
        gpu_memory_gib=Decimal(72),
        expected_sm_pct=Decimal("62.5"),
        requested_from=datetime(2026, 1, 1, tzinfo=UTC),
        requested_until=datetime(2026, 7, 1, tzinfo=UTC),
        status="proposed",
        owner="ann",
        reason="launch",
    )


def test_load_when_csv_says_the_same_then_it_is_the_same(tmp_path: Path) -> None:
    text = "\ufeffid,team,gpus,from,until\r\na,search,8,2026-01-01,\r\n\r\n"
    assert loaded(tmp_path, text, "r.csv") == loaded(tmp_path, ENTRY)


def test_load_when_values_look_like_others_then_they_stay_what_was_written(tmp_path: Path) -> None:
    text = ENTRY.replace("search", "no") + "    model: 1.10\n    endpoint: 0x1F\n    pool: ~\n"
    [request] = loaded(tmp_path, text)
    assert (request.team, request.model, request.endpoint, request.pool) == (
        "no",
        "1.10",
        "0x1F",
        "",
    )


def test_load_when_times_have_offsets_then_they_are_utc(tmp_path: Path) -> None:
    [request] = loaded(tmp_path, ENTRY.replace("2026-01-01", "2026-01-01T01:00:00+02:00"))
    assert request.requested_from == datetime(2025, 12, 31, 23, tzinfo=UTC)


def test_load_when_much_is_wrong_then_all_of_it_is_told_in_order(tmp_path: Path) -> None:
    text = ENTRY.replace("gpus: 8", "gpus: .nan") + "  - id: a\n    tem: search\n    gpus: 1\n"
    assert problems(tmp_path, text) == [
        "4: gpus: '.nan' is not a number; write digits, such as 8 or 0.5",
        "6: team: is missing; add `team: ...`",
        "6: from: is missing; add `from: ...`",
        "6: id: 'a' stands on line 2 already; rename one",
        "7: tem: is not a field; did you mean team?",
    ]


@pytest.mark.parametrize(
    "value", ["-1", "0", "0.0001", "1e309", "inf", "1_000", "1,5", "'8 GPUs'", "1000001", "0x8"]
)
def test_load_when_gpus_make_no_sense_then_the_line_says_so(tmp_path: Path, value: str) -> None:
    [problem] = problems(tmp_path, ENTRY.replace("gpus: 8", f"gpus: {value}"))
    assert problem.startswith("4: gpus: ")


@pytest.mark.parametrize(
    "value", ["2026-02-30", "tomorrow", "0001-01-01", "9999-12-31", "2026-01-01T25:00", "20260101"]
)
def test_load_when_a_date_is_impossible_then_the_line_says_so(tmp_path: Path, value: str) -> None:
    [problem] = problems(tmp_path, ENTRY.replace("2026-01-01", value))
    assert problem.startswith("5: from: ")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("until: 2025-12-31", "6: until: is not after `from`; correct one of them"),
        ("status: maybe", "6: status: 'maybe' is not known; take approved or proposed or"),
        ("expected_sm_pct: 101", "6: expected_sm_pct: '101' is out of range; take 0 to 100"),
        ("model: =cmd()", "6: model: starts with =, a formula to spreadsheets; leave that out"),
        ("model: ' x'", "6: model: has space around it; leave that out"),
        ("model: " + "x" * 129, "6: model: is longer than 128 characters; shorten it"),
        ('model: "a\\nb"', "6: model: holds characters that do not print; delete them"),
        ("model: ranker\ufe0f", "6: model: holds characters that do not print; delete them"),
        ("model: [a]", "6: model: must be a single value; write `model: VALUE`"),
        ("model: !!python/name:os.system x", "6: model: has a tag; write the plain value"),
        ("team: again", "6: team: stands twice in one entry; delete one"),
    ],
)
def test_load_when_a_field_is_wrong_then_place_and_remedy_are_told(
    tmp_path: Path, line: str, problem: str
) -> None:
    [told] = problems(tmp_path, f"{ENTRY}    {line}\n")
    assert told.startswith(problem)


def test_load_when_a_team_is_called_like_nobody_then_it_is_refused(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, ENTRY.replace("search", "Unattributed"))
    assert problem.startswith("3: team: ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1: is empty"),
        ("- id: a\n", "1: must start with `requests:`"),
        ("requests: 3\n", "1: requests: must be a list"),
        ("request: []\n", "1: request: is not known here"),
        ("requests:\n  - a\n", "2: is not an entry"),
        ("requests:\n\t- id: a\n", "2: is not valid YAML: "),
        ("requests:\n  - id: 'a\n", "3: is not valid YAML: "),
        ("a: &a [x]\nb: [*a, *a]\n", "1: uses an anchor or alias; write the value out"),
        ("requests: !!python/object:os.system []\n", "1: has a tag, tag:yaml.org,2002:python/"),
        ("requests:\n  - !!map {id: a}\n", "2: has a tag, tag:yaml.org,2002:map; leave it out"),
        ("requests: " + "[" * 20, "1: nests too deep"),
        ("[" * 100_000, "1: "),
        (b"requests:\n  - id: a\0b\n", "2: holds a control character; delete it"),
        (b"requests:\n  - id: \xff\n", "2: is not UTF-8 text; save the file as UTF-8"),
        ("#" * (1 << 20) + "\n", " is larger than 1 MiB; split it"),
        ("requests:\n" + "  - {}\n" * 10_001, "2: requests: holds more than 10000 entries"),
    ],
)
def test_load_when_a_file_is_no_list_of_requests_then_it_says_what_to_do(
    tmp_path: Path, text: str | bytes, problem: str
) -> None:
    [told] = problems(tmp_path, text)
    assert told.startswith(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1: is empty"),
        ("id,id\n", "1: id: stands twice in the header; delete one column"),
        ('id,team\n"a,b\n', "2: is not valid CSV"),
        ("id,team,gpus,from\n\na,t,1,2026-01-01,x\n", "3: has 5 cells for 4 columns"),
        ('id,team,gpus,from\n"=A1",t,1,2026-01-01\n', "2: id: starts with =, a formula"),
        (f"id\n{'x' * 140_000}\n", "2: is not valid CSV"),
    ],
)
def test_load_when_a_table_is_wrong_then_the_line_says_so(
    tmp_path: Path, text: str, problem: str
) -> None:
    assert problems(tmp_path, text, "requests.csv")[0].startswith(problem)


def test_load_when_there_is_no_file_then_one_line_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"nowhere\.yaml: cannot be read: No such file"):
        requests.BOOK.load(tmp_path / "nowhere.yaml")


@given(text=st.text(max_size=200))
def test_load_when_given_anything_then_nothing_but_its_own_error_comes_out(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name in ("any.yaml", "any.csv"):
        (folder / name).write_text(f"requests:\n  - id: {text}\n", "utf-8", "replace")
        with suppress(DeclarationError):
            requests.BOOK.load(folder / name)


def test_prices_when_two_are_the_same_then_the_second_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(
        "gpu_model,usd_per_gpu_hour,from\nH100,2.5,2026-01-01\n,1,2026-01-01\nH100,3,2026-01-01\n"
    )
    with pytest.raises(DeclarationError) as caught:
        prices.BOOK.load(path)
    assert caught.value.problems == (
        f"{path}:4: from: the same price stands on line 2 already; delete one",
    )
