"""Files of rules: what is right is read, what is wrong is named, all at once."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuledger_agent.attribution.rules import Evidence, Stage
from gpuledger_agent.attribution.rules_file import (
    MAX_BYTES,
    MAX_RULES,
    MAX_TEXT,
    RulesError,
    RulesFile,
    built_in,
    load,
    parse,
)

WHOLE = """
builtin = false

[[rule]]
name = "triton"
override = true
image = "*/tritonserver:*"
namespace = ["search", "rank-*"]
label."app.kubernetes.io/part-of" = "search-*"
team = "search"
model = ["{label:model-name}", "{env:MODEL}"]

[[rule]]
fallback = true
team = "{namespace}"
"""


def problems(text: str) -> list[str]:
    """What `parse` says of a file, without its name."""
    with pytest.raises(RulesError) as caught:
        parse(text, "rules.toml")
    assert all(line.startswith("rules.toml:") for line in caught.value.problems)
    return [line.removeprefix("rules.toml:") for line in caught.value.problems]


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "rules.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_parse_when_a_file_is_right_then_all_of_it_is_read() -> None:
    read = parse(WHOLE, "/etc/gpuledger/rules.toml")
    first, second = read.rules
    assert not read.builtin
    assert [(r.name, r.stage) for r in read.rules] == [
        ("triton", Stage.OVERRIDE),
        ("rules.toml rule 2", Stage.FALLBACK),
    ]
    assert [(str(reference), globs.text) for reference, globs in first.conditions] == [
        ("image", "*/tritonserver:*"),
        ("namespace", "search or rank-*"),
        ("label app.kubernetes.io/part-of", "search-*"),
    ]
    assert {field: len(templates) for field, templates in first.fields.items()} == {
        "team": 1,
        "model": 2,
    }
    assert second.fields.keys() == {"team"}


@pytest.mark.parametrize("text", ["", "# nothing", "builtin = true"])
def test_parse_when_a_file_has_no_rules_then_there_are_none(text: str) -> None:
    assert parse(text, "rules.toml") == RulesFile(())


def test_load_when_the_operator_has_rules_then_they_come_before_those_of_the_agent(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, '[[rule]]\nteam = "{label:crew}"\n')
    labels = {"crew": "ours", "team": "theirs"}
    named = load(path).apply([Evidence("cri", labels=labels)], lambda _, value: value)
    assert (named["team"].value, named["team"].rule) == ("ours", "rules.toml rule 1")
    names = [rule.name for rule in load(path).rules]
    assert names == ["rules.toml rule 1", *(rule.name for rule in built_in())]


def test_load_when_a_file_wants_none_of_the_agent_s_rules_then_its_own_are_all(
    tmp_path: Path,
) -> None:
    rules = load(write(tmp_path, WHOLE))
    assert [rule.name for rule in rules.rules] == ["triton", "rules.toml rule 2"]


def test_load_when_a_file_starts_with_a_byte_order_mark_then_it_is_read(tmp_path: Path) -> None:
    assert len(load(write(tmp_path, b"\xef\xbb\xbf" + WHOLE.encode())).rules) == 2


KEYS = (
    "name, override, fallback, source, kind, workload, image, namespace, user, command, label,"
    " env, team, model, endpoint, use_case, pool, metrics"
)

REFERENCES = "{label:NAME}, {env:NAME}, {workload}, {image}, {namespace}, {user}"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('imge = "x"', f"imge: is not a key; take one of {KEYS}"),
        ('use-case = "x"', f"use-case: is not a key; take one of {KEYS}"),
        ('"a\\u001bb" = "x"', f"a\\x1bb: is not a key; take one of {KEYS}"),
        ("name = 3", "name: is not text; put it in quotes"),
        ("image = 3", 'image: is not text; write "..." or ["...", "..."]'),
        ("image = []", 'image: is not text; write "..." or ["...", "..."]'),
        ('image = ["x", 3]', 'image: is not text; write "..." or ["...", "..."]'),
        ('image = ""', 'image: is empty; write a pattern, such as "search-*"'),
        ('image = ["x", "!"]', 'image: is empty; write a pattern, such as "search-*"'),
        ('env = "x"', 'env: lacks a name; write env."NAME" = "PATTERN"'),
        ('label."" = "x"', 'label."": lacks a name; write label."NAME" = "PATTERN"'),
        (
            'label.run.ai = "x"',
            'label."run": goes on after a dot; write label."run...", in quotes',
        ),
        ('override = "yes"', "override: is neither true nor false; write one of them"),
        ("override = true\nfallback = true", "fallback: contradicts override; delete one"),
        ("model = true", 'model: is not text; write "..." or ["...", "..."]'),
        ('model = " "', 'model: is empty; write a value, such as "search" or "{label:team}"'),
        (
            'model = "a\\u202eb"',
            "model: holds characters that do not print; shorten it, or write other characters",
        ),
        (
            'model = "{lable:x}"',
            f"model: {{lable:x}} refers to nothing; take one of {REFERENCES}",
        ),
        (
            'model = "{command}"',
            f"model: {{command}} refers to nothing; take one of {REFERENCES}",
        ),
        (
            'model = "{image:x}"',
            f"model: {{image:x}} refers to nothing; take one of {REFERENCES}",
        ),
        (
            'model = "{label:}"',
            f"model: {{label:}} refers to nothing; take one of {REFERENCES}",
        ),
        (
            'model = "x{"',
            "model: has a brace without its other; write {{ or }} for the character",
        ),
        (
            f'model = "{"{image}" * 200}"',
            f"model: is longer than {MAX_TEXT} characters; shorten it",
        ),
    ],
)
def test_parse_when_a_rule_is_wrong_then_line_rule_key_and_remedy_are_named(
    line: str, problem: str
) -> None:
    text = f'\n\n[[rule]]\nteam = "x"\n\n[[rule]]\n{line}\nteam = "x"\n'
    assert problems(text) == [f"6: rule 2: {problem}"]


def test_parse_when_a_rule_names_nothing_then_it_is_refused() -> None:
    [problem] = problems('[[rule]]\nname = "mine"\nimage = "x"')
    assert problem == (
        "1: rule 1 (mine): names no owner; add at least one of team, model, endpoint, use_case,"
        " pool, metrics"
    )


def test_parse_when_the_name_of_a_rule_does_not_print_then_it_is_told_escaped() -> None:
    assert problems('[[rule]]\nname = "a\\u001bb"\nteam = 3') == [
        '1: rule 1 (a\\x1bb): team: is not text; write "..." or ["...", "..."]'
    ]
    [rule] = parse('[[rule]]\nname = "a\\u001bb"\nteam = "x"', "rules.toml").rules
    assert rule.name == "a\\x1bb"


def test_parse_when_much_is_wrong_then_all_is_named_in_order_of_lines() -> None:
    found = problems(
        'bulitin = false\nbuiltin = "no"\n[[rule]]\nimge = "x"\n[[rule]]\nteam = "{"\nenv = 1'
    )
    assert [line.split(": ")[:-1] for line in found] == [
        [" bulitin"],
        [" builtin"],
        ["3", "rule 1", "imge"],
        ["3", "rule 1"],
        ["5", "rule 2", "team"],
        ["5", "rule 2", "env"],
    ]


def test_parse_when_rules_are_written_inline_then_problems_do_without_a_line() -> None:
    assert problems("rule = [{team = 3}]") == [
        ' rule 1: team: is not text; write "..." or ["...", "..."]'
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[[rule]]\nteam = search",
            "2: is not TOML: Invalid value (at line 2, column 8); correct it",
        ),
        ("[rule]\nteam = 'x'", " rule: is not a list of tables; start each rule with [[rule]]"),
        ("rule = 3", " rule: is not a list of tables; start each rule with [[rule]]"),
        ("team = 'x'", " team: is not a setting; take [[rule]] or builtin"),
        (
            "[[rule]]\nteam='x'\n" * (MAX_RULES + 1),
            f" holds {MAX_RULES + 1} rules; 1,000 are the most",
        ),
    ],
)
def test_parse_when_the_file_is_not_one_of_rules_then_it_says_so(text: str, problem: str) -> None:
    assert problems(text) == [problem]


BEYOND = [
    "a = " + "[" * 100_000,
    "a = " + "9" * 10_000,
    "a" + ".a" * 100_000 + " = 1",  # tomllib would take 40 GiB for it
    "\n".join(f"a{n}" + ".a" * 100 + " = 1" for n in range(4_000)),
]


@pytest.mark.parametrize("text", BEYOND, ids=["nested", "number", "one long key", "long keys"])
def test_parse_when_toml_is_beyond_its_reader_then_it_is_refused(text: str) -> None:
    [problem] = problems(text)
    assert problem.startswith(" is not TOML: ")


def test_parse_when_a_long_file_is_full_of_dots_then_it_is_read() -> None:
    images = ", ".join(f'"registry-{n}.example.com/*"' for n in range(200))
    text = f'[[rule]]\nteam = "x"\nimage = [{images}]\nlabel."a.b.c" = "*"\n' * 100
    assert len(parse(text, "f").rules) == 100


def test_load_when_a_file_cannot_be_read_then_it_says_why(tmp_path: Path) -> None:
    with pytest.raises(RulesError) as caught:
        load(tmp_path / "absent.toml")
    assert str(caught.value) == (
        f"{tmp_path}/absent.toml: cannot be read: No such file or directory;"
        " name a file that can be"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"#" * (MAX_BYTES + 1), ": is larger than 1 MiB; shorten it"),
        (b"# fine\n\n# \xff", ":3: is not UTF-8 text; save the file as UTF-8"),
    ],
)
def test_load_when_a_file_is_no_text_of_a_sane_size_then_it_is_refused(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(RulesError) as caught:
        load(path)
    assert caught.value.problems == (f"{path}{problem}",)


def test_documentation_when_it_shows_rules_then_they_are_right() -> None:
    text = (Path(__file__).parents[1] / "docs/attribution.md").read_text()
    blocks = [dedent(block) for block in re.findall(r"(?:^(?: {4}.*)?\n)+", text, re.MULTILINE)]
    shown = [parse(block, "docs") for block in blocks if "[[rule]]" in block]
    assert sum(len(file.rules) for file in shown) >= 5


def _quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(c):08x}" for c in text) + '"'


WORD = st.sampled_from([*KEYS.split(", "), "label.x", 'env."A.B"', "rule", "builtin"])
KEY = WORD | st.text(st.characters(exclude_categories=["Cs"])).map(_quoted)
SCALAR = st.text(st.characters(exclude_categories=["Cs"])).map(_quoted) | st.sampled_from(
    ["true", "false", "1", '"x"', '"!"', '"{label:x}"', '"{"', '"{image}{{"', "1979-05-27", "{}"]
)
VALUE = SCALAR | st.lists(SCALAR).map(lambda all_: "[" + ", ".join(all_) + "]")
LINE = (
    st.builds(lambda key, value: f"{key} = {value}", KEY, VALUE)
    | st.sampled_from(["[[rule]]", "[rule]", "[[ rule ]]  # x", '[["rule"]]', "[label]"])
    | st.text()
)


@given(text=st.lists(LINE).map("\n".join) | st.text(st.characters()))
def test_parse_when_text_is_anything_then_it_is_rules_or_lines_that_say_why_not(text: str) -> None:
    try:
        read = parse(text, "rules.toml")
    except RulesError as error:
        assert error.problems
        assert all(line.isprintable() for line in error.problems)
        assert all(line.startswith("rules.toml:") for line in error.problems)
    else:
        assert all(rule.fields and all(rule.fields.values()) for rule in read.rules)
        assert all(rule.name.isprintable() for rule in read.rules)
