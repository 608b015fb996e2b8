from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuledger_agent.attribution import cgroup
from gpuledger_agent.attribution.base import Kind, WorkloadRef
from gpuledger_agent.attribution.cgroup import MAX_DEPTH, PATTERNS, refs
from gpuledger_agent.processes import CGROUP_LIMIT

ID = "3f2a9c1b04de1c132e0533b206c8d6f0016cf2baee8e7a1a11440e304ab9e0d0"
OTHER = "788e5c50f7c28de4a82132e0533b206c8d6f0016cf2baee8e7a1a11440e34174"
UID = "15513b48-e7a5-48fc-b9e3-92f713f36504"
MANAGER = "/user.slice/user-1000.slice/user@1000.service"


@dataclass(frozen=True)
class Case:
    name: str
    text: str
    refs: tuple[WorkloadRef, ...]

    def lines(self) -> list[str]:
        return [line for line in self.text.split("\n") if line]


def load_cases() -> list[Case]:
    with (Path(__file__).parent / "cgroups.toml").open("rb") as file:
        cases = tomllib.load(file)["case"]
    return [Case(case["name"], case["text"], tuple(map(ref, case["refs"]))) for case in cases]


def ref(table: dict[str, Any]) -> WorkloadRef:
    return WorkloadRef(Kind(table.pop("kind")), table.pop("id", ""), **table)


def container(name: str, runtime: str = "") -> WorkloadRef:
    return WorkloadRef(Kind.CONTAINER, name, runtime)


def unit(name: str) -> WorkloadRef:
    return WorkloadRef(Kind.UNIT, name, "systemd")


CASES = load_cases()
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
any_case = st.sampled_from(CASES)


@each_case
def test_refs_of_a_real_process_then_they_name_its_workloads(case: Case) -> None:
    assert refs(case.text) == case.refs


def test_patterns_when_one_is_missing_then_a_real_case_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each pattern is needed by some case: without it that case would come out otherwise."""
    whole = cgroup._ANY.pattern
    for pattern in PATTERNS:
        # A pattern that no name can match, with a group in the same place.
        crippled = whole.replace(pattern.names, "(?!)()", 1)
        monkeypatch.setattr(cgroup, "_ANY", re.compile(crippled))
        assert any(refs(case.text) != case.refs for case in CASES), pattern


@given(any_case, st.randoms(use_true_random=False))
def test_refs_when_lines_are_in_another_order_or_twice_then_they_stay(
    case: Case, chance: random.Random
) -> None:
    lines = case.lines() * 2
    chance.shuffle(lines)
    assert refs("\n".join(lines)) == case.refs


@given(any_case, st.integers(1, 12))
def test_refs_when_seen_from_inside_a_cgroup_namespace_then_they_stay(
    case: Case, levels: int
) -> None:
    fields = (line.split(":", 2) for line in case.lines())
    seen = (f"{number}:{of}:{'/..' * levels}{path}" for number, of, path in fields)
    assert refs("\n".join(seen)) == case.refs


@given(any_case)
def test_refs_when_the_workload_itself_is_in_a_container_then_the_container_is_outermost(
    case: Case,
) -> None:
    fields = (line.split(":", 2) for line in case.lines())
    nested = (f"{number}:{of}:/docker/{OTHER}{path}" for number, of, path in fields)
    inner = tuple(each for each in case.refs if each.kind is not Kind.UNIT)
    first, *rest = refs("\n".join(nested))
    assert first == container(OTHER, "docker")
    assert [each.id for each in rest] == [each.id for each in inner]


@pytest.mark.parametrize(
    "path",
    [
        f"/docker/{ID}0",
        f"/docker/{ID[1:]}",
        f"/docker/{ID.upper()}",
        f"/system.slice/docker-{ID}.scope.d",
        f"/machine.slice/libpod-{ID}0.scope.d",
        f"/kubepods/burstable/pod{UID}0",
        f"/kubepods/pod{UID[:-1]}",
        "/slurm/uid_0/job_12345678901",
        "/slurm/uid_0/job_12a",
        "/slurm/uid_0/job_-1",
        "/slurm/job_1",
        "/default/" + "a" * 77,
        "/lxc/" + "a" * 256,
        "/system.slice/" + "a" * 248 + ".service",
        "/system.slice/.service",
    ],
)
def test_refs_when_an_id_is_too_long_or_malformed_then_there_are_none(path: str) -> None:
    assert refs(f"0::{path}\n") == ()


@pytest.mark.parametrize(
    "name", ["a" * 255, "web 1", "a:b", "100%", "grün", "\u2028", "\r", "'; --"]
)
def test_refs_when_a_name_holds_any_character_then_it_is_whole(name: str) -> None:
    assert refs(f"0::/lxc/{name}\n") == (container(name, "lxc"),)
    assert refs(f"0::/lxc.payload.{name}/init.scope\n") == (container(name, "lxc"),)


def test_refs_when_a_unit_is_named_nearly_as_the_managers_own_then_it_counts() -> None:
    assert refs("0::/system.slice/init.scope.service\n") == (unit("init.scope.service"),)


def test_refs_when_a_user_names_a_cgroup_after_others_work_then_it_does_not_count() -> None:
    """systemd delegates what lies below user@UID.service to that user, who may mkdir there."""
    own = replace(unit("user@1000.service"), user=1000)
    assert refs(f"0::{MANAGER}/slurm/uid_0/job_7") == (own,)
    assert refs(f"0::{MANAGER}/slurmstepd.scope/job_7") == (own,)
    assert refs(f"0::{MANAGER}/kubepods/pod{UID}/{ID}") == (own,)
    assert refs(f"0::{MANAGER}/anything/{ID}") == (own,)


def test_refs_when_a_container_has_users_of_its_own_then_what_they_run_is_inside_it() -> None:
    assert refs(f"0::/lxc/web{MANAGER}/kubepods/pod{UID}/{ID}") == (
        container("web", "lxc"),
        WorkloadRef(Kind.POD, ID, pod_uid=UID),
    )


def test_refs_when_a_user_names_a_cgroup_in_one_hierarchy_then_another_hierarchy_decides() -> None:
    made_up = f"0::{MANAGER}/user.slice/docker-{ID}.scope/docker-{OTHER}.scope"
    assert refs(f"{made_up}\n8:memory:/slurm/uid_1000/job_7\n") == (
        WorkloadRef(Kind.SLURM_JOB, "7", "slurm"),
    )


def test_refs_when_workloads_are_nested_without_end_then_the_outermost_are_told() -> None:
    nested = "".join(f"/lxc/{number}" for number in range(MAX_DEPTH + 5))
    expected = tuple(container(str(number), "lxc") for number in range(MAX_DEPTH))
    assert refs(f"0::{nested}\n") == expected


@given(st.text())
def test_refs_of_any_text_then_it_does_not_raise(text: str) -> None:
    assert len(refs(text)) <= MAX_DEPTH
    assert len(refs(f"0::/{text}")) <= MAX_DEPTH


PIECES = [
    *(
        "/",
        "\n",
        ":",
        "0::",
        "..",
        ".slice:",
        ".scope",
        ".service",
        "-pod",
        "_",
        "x",
        "\\x2d",
        "\0",
    ),
    *("kubepods", "docker-", "docker/", "ecs/", "default/", "lxc/", "machine-", "user@1.service"),
    *("slurm_", "/uid_1/job_1", "slurmstepd.scope/job_1", "systemd-nspawn@", ID, UID, UID[:8]),
]


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_refs_of_text_that_is_nearly_right_then_they_keep_their_promises(text: str) -> None:
    found = refs("0::/" + text)
    assert len(found) <= MAX_DEPTH
    for each in found:
        assert len(each.id) <= 255
        assert "/" not in each.id
        assert "\n" not in each.id
        assert bool(each.pod_uid) == (each.kind is Kind.POD)
        assert each.id or each.kind is Kind.POD
    assert all(each.kind is not Kind.UNIT for each in found) or len(found) == 1


@pytest.mark.parametrize(
    "piece",
    ["/", "/a", "/a_", "a-kubepods-", "/ecs/a", "_", "/lxc/a", "0::/a\n", "\n", ":", "/a.scope"],
)
def test_refs_of_text_made_to_take_long_then_it_still_ends(piece: str) -> None:
    """Bounded by the limits on lines, paths and names; the test's own timeout would tell."""
    whole = piece * (CGROUP_LIMIT // len(piece))
    paths = "\n".join(f"{number}:c:/{piece * (4_000 // len(piece))}" for number in range(16))
    for text in (whole, paths):
        assert len(refs(text)) <= MAX_DEPTH


def test_refs_when_the_list_is_cut_off_then_whole_lines_still_count() -> None:
    text = f"1:name=systemd:/docker/{ID}\n0::/docker/{ID[:20]}"
    assert refs(text) == (container(ID, "docker"),)
