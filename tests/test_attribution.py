"""Owners of processes: who speaks for itself comes first, and only what can stand is booked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuledger_agent.attribution.attributor import FIELDS, Attributor
from gpuledger_agent.attribution.environment import VARIABLES, EnvironmentResolver
from gpuledger_agent.attribution.labels import MAX_LABEL
from gpuledger_agent.config import AgentConfig
from gpuledger_agent.daemon import make_attributor
from gpuledger_agent.processes import ProcessFacts
from gpuledger_agent.records import Owner, ProcessKey


def process(environ: Mapping[str, str] | None = None, pid: int = 7) -> ProcessFacts:
    return ProcessFacts(ProcessKey(pid, 1_700_000_000), 1.7e9, "python3", environ=environ or {})


def agent(**owner: str) -> Attributor:
    """As an agent attributes that was configured with this owner for the host."""
    return make_attributor(AgentConfig(owner=Owner(**owner, source="static"), spool=None))


class Says:
    """A source that says the same of every process, and counts how often it was asked."""

    def __init__(self, name: str, owner: Owner | None) -> None:
        self.name, self._owner, self.asked = name, owner, 0

    def wants(self, variable: str) -> bool:
        return variable == self.name.upper()

    def resolve(self, facts: ProcessFacts) -> Owner | None:  # noqa: ARG002  # the protocol's
        self.asked += 1
        return self._owner


def test_process_when_it_names_its_owner_then_all_it_names_is_taken() -> None:
    environ = dict(zip(VARIABLES, ("search", "ranker", "rank", "ads", "prod"), strict=True))
    named = agent().owner(process(environ))
    assert named == Owner("search", "ranker", "rank", "ads", "prod", "environment")


def test_process_when_it_names_nothing_then_the_owner_of_the_host_counts() -> None:
    named = agent(team="platform", use_case="batch").owner(process())
    assert named == Owner(team="platform", use_case="batch", source="static")


def test_process_when_it_names_a_part_then_the_rest_is_the_host_s() -> None:
    """The source told is that of the team, or of the first to name anything."""
    host = agent(team="platform", model="none")
    assert host.owner(process({"GPULEDGER_MODEL": "ranker"})) == Owner(
        team="platform", model="ranker", source="static"
    )
    assert host.owner(process({"GPULEDGER_TEAM": "ads"}, pid=8)) == Owner(
        team="ads", model="none", source="environment"
    )


def test_process_when_nobody_names_it_then_its_owner_is_empty() -> None:
    assert agent().owner(process({"GPULEDGER_TEAM": "  "})) == Owner()


def test_variables_when_asked_for_then_ours_are_wanted_and_no_others() -> None:
    attributor = agent()
    assert all(attributor.wants(variable) for variable in VARIABLES)
    assert not any(map(attributor.wants, ("PATH", "GPULEDGER_", "AWS_SECRET_ACCESS_KEY", "")))
    assert Attributor([Says("a", None), Says("b", None)]).wants("B")


def test_sources_when_several_name_a_field_then_the_first_counts() -> None:
    first = Says("first", Owner(model="ranker", pool="prod"))
    silent = Says("silent", None)
    last = Says("last", Owner("search", "other", "rank"))
    named = Attributor([first, silent, last]).owner(process())
    assert named == Owner("search", "ranker", "rank", "", "prod", "last")
    named = Attributor([last, silent, first]).owner(process())
    assert named == Owner("search", "other", "rank", "", "prod", "last")


@pytest.mark.parametrize("bad", ["x" * (MAX_LABEL + 1), "a\nb", "\ud800", "\u202e"])
def test_value_when_it_cannot_stand_then_the_next_source_names_the_field(bad: str) -> None:
    attributor = Attributor([Says("a", Owner(bad, "ranker")), Says("b", Owner("search", "x"))])
    assert attributor.owner(process()) == Owner("search", "ranker", source="b")
    assert attributor.labels_refused == 1


def test_value_when_refused_then_it_is_counted_and_logged_once_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    attributor = agent(team="platform")
    hostile = process({"GPULEDGER_TEAM": "a\nlevel=info", "GPULEDGER_POOL": "x" * 500})
    for _ in range(3):
        attributor.owner(hostile)
        attributor.keep_only(set())
    said = "event=label_refused pid=7 process='python3' field={} resolver=environment reason={!r}"
    assert [record.getMessage() for record in caplog.records] == [
        said.format("team", "holds characters that do not print"),
        said.format("pool", "is longer than 128 characters"),
    ]
    assert attributor.labels_refused == 6


def test_owner_when_known_then_it_is_not_asked_for_again_until_the_process_is_gone() -> None:
    source = Says("a", Owner("search"))
    attributor = Attributor([source])
    stays, goes = process(pid=1), process(pid=2)
    for _ in range(3):
        attributor.owner(stays)
        attributor.owner(goes)
    assert source.asked == 2
    attributor.keep_only({stays.key})
    attributor.owner(stays)
    assert source.asked == 2
    attributor.owner(goes)
    assert source.asked == 3


def test_pid_when_in_use_again_then_its_owner_is_asked_for_anew() -> None:
    attributor = agent()
    attributor.owner(process({"GPULEDGER_TEAM": "search"}))
    other = ProcessFacts(ProcessKey(7, 1_700_000_001), 1.7e9, environ={"GPULEDGER_TEAM": "ads"})
    assert attributor.owner(other).team == "ads"


texts = st.text(st.characters(exclude_categories=()), max_size=300)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(VARIABLES)), texts), st.lists(texts, max_size=5))
def test_owner_whatever_is_found_then_it_can_stand_in_the_books(
    environ: Mapping[str, str], others: list[str]
) -> None:
    found = Owner(**dict(zip(FIELDS, others, strict=False)))
    attributor = Attributor([Says("a", found), EnvironmentResolver(), Says("z", found)])
    for value in astuple(attributor.owner(process(environ))):
        assert value.isprintable()
        assert len(value) <= MAX_LABEL
        assert value == value.strip()
