"""Rules: who names a field of the owner when several could, and what they say of why."""

from __future__ import annotations

import unicodedata
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuledger_agent.attribution.base import MAX_VALUE_BYTES
from gpuledger_agent.attribution.globs import Globs
from gpuledger_agent.attribution.labels import MAX_LABEL, LabelError, clean
from gpuledger_agent.attribution.rules import NAMES, Evidence, Named, Rules
from gpuledger_agent.attribution.rules_file import load, parse

POD = Evidence(
    source="cri",
    kind="pod",
    name="search/ranker-0",
    labels={"team": "search", "app.kubernetes.io/part-of": "search-web"},
    environ={"MODEL": "llama"},
    image="nvcr.io/nvidia/tritonserver:24.01",
    namespace="search",
    command="python serve.py --token=secret",
    user="ann",
)

TEXT = (
    st.text() | st.text(st.characters()) | st.binary().map(lambda b: b.decode("utf-8", "replace"))
)
VALUE = TEXT | st.builds(
    lambda text, times: text * times, TEXT, st.integers(0, 2 * MAX_VALUE_BYTES)
)


def accept(_: str, value: str) -> str | None:
    try:
        return clean(value)
    except LabelError:
        return None


def why(rules: Rules | str, *evidence: Evidence) -> dict[str, Named]:
    if isinstance(rules, str):
        rules = Rules(parse(rules, "rules.toml").rules)
    return rules.apply(evidence, accept)


def owner(rules: Rules | str, *evidence: Evidence) -> dict[str, str]:
    return {field: one.value for field, one in why(rules, *evidence).items()}


def test_rules_when_two_sources_name_a_field_then_the_earlier_counts() -> None:
    rules = '[[rule]]\nteam = "{label:a}"\n[[rule]]\nteam = "{label:b}"\nmodel = "{label:b}"'
    first, second = Evidence("docker", labels={"b": "1"}), Evidence("cri", labels={"a": "2"})
    assert owner(rules, first, second) == {"team": "1", "model": "1"}
    assert owner(rules, second, first) == {"team": "2", "model": "1"}


def test_rules_when_two_name_a_field_then_the_earlier_counts() -> None:
    rules = '[[rule]]\nteam = "{label:a}"\n[[rule]]\nteam = "{label:b}"\nmodel = "{label:b}"'
    assert owner(rules, Evidence("cri", labels={"a": "1", "b": "2"})) == {"team": "1", "model": "2"}


def test_rules_when_one_overrides_then_it_counts_before_earlier_sources_and_rules() -> None:
    rules = '[[rule]]\nteam = "{env:T}"\n[[rule]]\noverride = true\nimage = "*"\nteam = "ops"'
    itself = Evidence("environment", environ={"T": "search"})
    assert owner(rules, itself, Evidence("cri", image="x")) == {"team": "ops"}
    assert owner(rules, itself) == {"team": "search"}


def test_rules_when_one_is_to_fall_back_on_then_it_counts_after_later_sources_and_rules() -> None:
    rules = (
        '[[rule]]\nfallback = true\nteam = "{namespace}"\n'
        '[[rule]]\nsource = "slurm"\nteam = "{label:account}"'
    )
    job = Evidence("slurm", labels={"account": "physics"})
    assert owner(rules, POD, job) == {"team": "physics"}
    assert owner(rules, POD) == {"team": "search"}


@pytest.mark.parametrize(
    "rules",
    [
        '[[rule]]\nteam = ["{label:bad}", "{label:good}"]',
        '[[rule]]\nteam = "{label:bad}"\n[[rule]]\nteam = "{label:good}"',
        '[[rule]]\noverride = true\nteam = "{label:bad}"\n[[rule]]\nteam = "{label:good}"',
    ],
)
@pytest.mark.parametrize("bad", ["a\x00b", "\u202emaet", "x" * (MAX_LABEL + 1), " \n"])
def test_rules_when_a_value_cannot_be_accepted_then_the_next_candidate_counts(
    rules: str, bad: str
) -> None:
    assert owner(rules, Evidence("cri", labels={"bad": bad, "good": "search"})) == {
        "team": "search"
    }
    later = Evidence("slurm", labels={"good": "physics"})
    assert owner(rules, Evidence("cri", labels={"bad": bad}), later) == {"team": "physics"}


@pytest.mark.parametrize(
    "condition",
    [
        'source = "cri"',
        'kind = "pod"',
        'workload = "search/*"',
        'image = "*/tritonserver:*"',
        'namespace = ["rank*", "search"]',
        'user = "a?n"',
        'command = "python *.py *"',
        'label.team = "[s]earch"',
        'label."app.kubernetes.io/part-of" = "search-*"',
        'env.MODEL = "*"',
        'label.absent = "!x"',
        'namespace = ["!kube-*", "!search-*"]',
        'namespace = ["s*", "!search-*"]',
        'image = "*/tritonserver:*"\nnamespace = "search"',
    ],
)
def test_rule_when_evidence_meets_its_conditions_then_it_names(condition: str) -> None:
    assert owner(f'[[rule]]\n{condition}\nmodel = "m"', POD) == {"model": "m"}


@pytest.mark.parametrize(
    "condition",
    [
        'source = "docker"',
        'namespace = "Search"',
        'namespace = "sear"',
        'namespace = "!search"',
        'namespace = ["search", "!s*"]',
        'label.absent = "*"',
        'label.absent = ["*", "!x"]',
        'env.team = "search"',
        'image = "*/tritonserver:*"\nnamespace = "other"',
    ],
)
def test_rule_when_evidence_misses_a_condition_then_it_names_nothing(condition: str) -> None:
    assert owner(f'[[rule]]\n{condition}\nmodel = "m"', POD) == {}


def test_rule_when_two_sources_meet_half_of_its_conditions_each_then_it_names_nothing() -> None:
    rule = '[[rule]]\nimage = "a"\nuser = "ann"\nteam = "x"'
    assert owner(rule, Evidence("docker", image="a"), Evidence("environment", user="ann")) == {}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("plain", "plain"),
        ("{label:team}-{env:MODEL}", "search-llama"),
        ("{workload}", "search/ranker-0"),
        ("{image}", "nvcr.io/nvidia/tritonserver:24.01"),
        ("{namespace}/{user}", "search/ann"),
        ("{{{namespace}}}", "{search}"),
        ("{label:app.kubernetes.io/part-of}", "search-web"),
    ],
)
def test_template_when_evidence_has_all_it_refers_to_then_it_is_filled(
    template: str, value: str
) -> None:
    assert owner(f'[[rule]]\nteam = "{template}"', POD) == {"team": value}


@pytest.mark.parametrize("labels", [{}, {"a": ""}, {"a": " \t"}])
def test_template_when_evidence_lacks_what_it_refers_to_then_the_field_stays_open(
    labels: dict[str, str],
) -> None:
    rule = '[[rule]]\nteam = "x-{label:a}"\nmodel = "m"'
    assert owner(rule, Evidence("cri", labels=labels)) == {"model": "m"}


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        (
            'name = "part of"\nteam = "{label:team}-{env:MODEL}"',
            Named("search-llama", "part of", "cri", "label team=search, env MODEL=llama"),
        ),
        (
            'image = ["*/triton*", "*/vllm*"]\nuser = "ann"\nteam = "x"',
            Named("x", "rules.toml rule 1", "cri", "image=*/triton* or */vllm*, user=ann"),
        ),
        ('team = "x"', Named("x", "rules.toml rule 1", "cri", "no condition")),
    ],
)
def test_rules_when_a_field_is_named_then_they_say_by_which_rule_and_why(
    rule: str, named: Named
) -> None:
    assert why("[[rule]]\n" + rule, POD) == {"team": named}


def test_rules_when_a_command_line_decides_then_its_secrets_are_not_told() -> None:
    named = why('[[rule]]\ncommand = "*serve.py*"\nteam = "x"', POD)["team"]
    assert named.origin == "command=*serve.py*"


def test_rules_when_a_value_is_long_or_odd_then_why_is_still_a_short_line() -> None:
    rule = '[[rule]]\nteam = "{label:a}{label:b}"'
    named = Rules(parse(rule, "rules.toml").rules).apply(
        [Evidence("cri", labels={"a": "x" * 100, "b": "\u202ey\ud800"})], lambda _, value: value
    )
    assert named["team"].origin == f"label a={'x' * 64}..., label b=\\u202ey\\ud800"


def test_rules_when_asked_then_they_tell_what_they_read_of_a_process() -> None:
    text = '[[rule]]\nenv.A = "*"\nteam = "{env:B}"\nmodel = ["m", "{label:C}-{env:D}"]\n'
    rules = Rules(parse(text, "rules.toml").rules)
    assert rules.variables() == {"A", "B", "D"}
    assert not rules.wants_command
    assert Rules(parse(text + 'command = "*"', "rules.toml").rules).wants_command


def test_fact_when_it_is_huge_then_only_its_beginning_is_looked_at() -> None:
    long = Evidence("cri", command="python " + "x" * MAX_VALUE_BYTES + " train")
    assert owner('[[rule]]\ncommand = "python *"\nteam = "x"', long) == {"team": "x"}
    assert owner('[[rule]]\ncommand = "*train"\nteam = "x"', long) == {}


@given(pattern=st.text("ab*?[]!-^\\\n", min_size=1), value=st.text("ab[]!-^\\\n", min_size=1))
def test_globs_when_a_pattern_is_plain_then_they_fit_as_the_shell_s_do(
    pattern: str, value: str
) -> None:
    if pattern.startswith("!"):
        pattern = "a" + pattern
    assert Globs([pattern]).fit(value) == fnmatchcase(value, pattern)
    assert Globs(["!" + pattern]).fit(value) != fnmatchcase(value, pattern)


def test_globs_when_a_pattern_has_many_stars_then_a_long_value_is_still_decided() -> None:
    assert not Globs(["*a" * 100 + "*b"]).fit("a" * MAX_VALUE_BYTES)


LABELS = sorted(
    {ref.name for rule in load().rules for ref, _ in rule.conditions if ref.kind == "label"}
    | {"team", "gpuledger.io/team", "cost-center", "ray.io/cluster", "model", "slurm/account"}
)
EVIDENCE = st.builds(
    Evidence,
    source=st.sampled_from(["cri", "slurm"]) | TEXT,
    name=VALUE,
    labels=st.dictionaries(st.sampled_from(LABELS) | TEXT, VALUE),
    environ=st.dictionaries(st.sampled_from(sorted(load().variables())) | TEXT, VALUE),
    image=VALUE,
    namespace=st.just("runai-x") | VALUE,
    command=VALUE,
    user=VALUE,
)
GREEDY = """
[[rule]]
label.team = ["*a*b*", "!*\\n*"]
command = "!*secret*"
team = ["{label:team}", "{image}", "{workload}"]
model = "{namespace}/{user}{{{env:GPULEDGER_MODEL}}}"
[[rule]]
fallback = true
team = "{user}"
"""


@given(evidence=st.lists(EVIDENCE, max_size=4))
def test_rules_when_evidence_is_anything_then_what_they_name_can_stand_in_the_books(
    evidence: list[Evidence],
) -> None:
    asked: list[str] = []

    def counting(field: str, value: str) -> str | None:
        asked.append(field)
        return accept(field, value)

    rules = Rules((*parse(GREEDY, "rules.toml").rules, *load().rules))
    named = rules.apply(evidence, counting)
    assert named.keys() <= set(NAMES)
    for one in named.values():
        assert one.value
        assert one.value.isprintable()
        assert len(one.value) <= MAX_LABEL
        assert unicodedata.is_normalized("NFC", one.value)
        assert one.origin.isprintable()
        assert one.source in {piece.source for piece in evidence}
    alternatives = sum(len(t) for rule in rules.rules for t in rule.fields.values())
    assert len(asked) <= alternatives * len(evidence)
