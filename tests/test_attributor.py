"""Owners by what sources say: precedence, nesting, change, and what hostile labels can do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuledger_agent.attribution import admission, rules_file
from gpuledger_agent.attribution import attributor as attributor_module
from gpuledger_agent.attribution import catalogue as catalogue_module
from gpuledger_agent.attribution.admission import LINES
from gpuledger_agent.attribution.attributor import ORDER, Attributor
from gpuledger_agent.attribution.base import Kind, Workload, WorkloadRef
from gpuledger_agent.attribution.cardinality import LIMIT, LIMIT_EACH
from gpuledger_agent.attribution.catalogue import Catalogue
from gpuledger_agent.attribution.labels import MAX_LABEL
from gpuledger_agent.attribution.rules import FIELDS, Rules
from gpuledger_agent.processes import ProcessFacts
from gpuledger_agent.records import Owner, ProcessKey
from tests.waiting import wait_until

BOX, POD, INNER = "a" * 64, "b" * 64, "c" * 64
UID = "15513b48-e7a5-48fc-b9e3-92f713f36504"
IN_BOX = f"0::/system.slice/docker-{BOX}.scope"
IN_POD = f"0::/kubepods/burstable/pod{UID}/{POD}"
RULES = rules_file.load()


class Known:
    """A source that knows these workloads."""

    def __init__(self, name: str, *workloads: Workload) -> None:
        self.name = name
        self.all = list(workloads)
        self.asked: list[str] = []

    def present(self) -> bool:
        return True

    def workloads(self) -> Sequence[Workload]:
        return list(self.all)

    def workload(self, ref: WorkloadRef) -> Workload | None:
        self.asked.append(ref.id)
        return None

    def close(self) -> None:
        pass


@contextmanager
def attributor(
    *sources: Known, static: Owner = Owner(), order: Sequence[str] = ORDER
) -> Iterator[Attributor]:
    catalogues = [Catalogue(s.name, lambda s=s: s, time.time) for s in sources]
    made = Attributor(catalogues, RULES, static, order)
    with ExitStack() as stack:
        stack.callback(made.stop)
        made.start()
        made.settle()
        yield made


def process(cgroup: str = "", pid: int = 7, **environ: str) -> ProcessFacts:
    return ProcessFacts(ProcessKey(pid, 1), 1.0, "python3", 1000, environ, cgroup=cgroup)


def box(*, name: str = "ranker", devices: tuple[str, ...] = (), **labels: str) -> Workload:
    return Workload(Kind.CONTAINER, BOX, name, labels, devices=devices)


def pod(**labels: str) -> Workload:
    return Workload(Kind.POD, POD, "ml/ranker-0", labels, namespace="ml")


def test_process_when_its_container_has_labels_then_they_name_owner_and_workload() -> None:
    with attributor(Known("docker", box(team="search", model="ranker-7b"))) as who:
        found = who.process(process(IN_BOX), "ann")
    assert found.owner == Owner(team="search", model="ranker-7b", source="docker")
    assert (found.kind, found.workload) == (Kind.CONTAINER, "ranker")
    assert "team=search" in found.named["team"].origin


def test_process_when_it_speaks_for_itself_then_first_unless_the_order_says_otherwise() -> None:
    docker = Known("docker", box(team="search", model="ranker"))
    facts = process(IN_BOX, GPULEDGER_TEAM="ads")
    with attributor(docker) as who:
        assert who.process(facts, "").owner == Owner("ads", "ranker", source="environment")
    with attributor(docker, order=("docker", "environment")) as who:
        assert who.process(facts, "").owner == Owner("search", "ranker", source="docker")
    with attributor(docker, order=("docker",)) as who:
        assert who.process(facts, "").owner.team == "search"
    with attributor(docker, order=("environment",)) as who:
        assert who.process(facts, "").owner == Owner("ads", source="environment")


def test_process_when_nobody_names_it_then_the_hosts_own_settings_do() -> None:
    with attributor(Known("docker", box(model="m")), static=Owner(team="lab", model="x")) as who:
        assert who.process(process(IN_BOX), "").owner == Owner("lab", "m", source="static")
        assert who.process(process(pid=8), "").owner == Owner("lab", "x", source="static")


def test_process_when_a_container_is_inside_a_pod_then_only_the_pod_speaks() -> None:
    inside = Workload(Kind.CONTAINER, INNER, "inner", {"team": "forged", "model": "forged"})
    docker, cri = Known("docker", inside), Known("cri", pod(team="search"))
    with attributor(docker, cri) as who:
        found = who.process(process(f"{IN_POD}/docker/{INNER}"), "")
    assert found.owner == Owner(team="search", source="cri")
    assert (found.kind, found.workload) == (Kind.POD, "ml/ranker-0")
    assert INNER not in docker.asked


def test_process_when_a_container_is_inside_a_job_then_the_job_is_the_workload() -> None:
    job = Workload(Kind.SLURM_JOB, "42", "42", {"slurm/account": "physics"})
    with attributor(Known("docker", box(model="ranker")), Known("slurm", job)) as who:
        found = who.process(process(f"0::/slurmstepd.scope/job_42/step_0/docker/{BOX}"), "")
    assert found.owner == Owner("physics", "ranker", source="slurm")
    assert (found.kind, found.workload) == (Kind.SLURM_JOB, "42")


def test_process_when_job_and_container_both_name_a_team_then_the_outer_ones_counts() -> None:
    """Whatever the order of their sources: who is inside may say what he likes."""
    job = Workload(Kind.SLURM_JOB, "42", "42", {"slurm/account": "physics"})
    with attributor(Known("docker", box(team="forged")), Known("slurm", job)) as who:
        found = who.process(process(f"0::/slurmstepd.scope/job_42/step_0/docker/{BOX}"), "")
    assert found.owner == Owner("physics", source="slurm")


def test_process_when_only_its_container_says_something_then_that_is_the_workload() -> None:
    with attributor(Known("docker", box(team="search"))) as who:
        found = who.process(process(f"0::/slurmstepd.scope/job_42/step_0/docker/{BOX}"), "")
    assert (found.owner.team, found.kind, found.workload) == ("search", Kind.CONTAINER, "ranker")


def test_container_when_only_environments_count_then_its_labels_do_not() -> None:
    said = Workload(Kind.CONTAINER, BOX, "x", {"team": "x"}, environ={"GPULEDGER_MODEL": "m"})
    with attributor(Known("docker", said), order=("environment", "docker")) as who:
        assert who.process(process(IN_BOX), "").named["team"].source == "docker"


def test_paths_when_ever_new_ones_come_then_the_oldest_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attributor_module, "PATHS", 4)
    made = Attributor([], RULES, Owner())
    for n in range(10):
        made.notice(process(f"0::/system.slice/unit-{n}.service"))
        assert len(made._refs) <= 4


def test_process_when_its_runtime_is_silent_then_booked_by_the_containers_id() -> None:
    with attributor() as who:
        found = who.process(process(IN_POD, GPULEDGER_TEAM="search"), "")
    assert (found.kind, found.workload, found.owner.team) == (Kind.POD, POD[:12], "search")


@pytest.mark.parametrize(
    ("cgroup", "kind", "name"),
    [
        ("0::/system.slice/vllm.service", Kind.UNIT, "vllm.service"),
        (
            "0::/user.slice/user-9.slice/user@9.service/app.slice/vllm.service",
            Kind.UNIT,
            "user-9/vllm.service",
        ),
        ("0::/user.slice/user-9.slice/session-3.scope", Kind.UNIT, "session-3.scope"),
        ("0::/", Kind.PROCESS, "python3[7]"),
        ("", Kind.PROCESS, "python3[7]"),
    ],
)
def test_process_when_in_no_container_then_its_unit_or_itself_is_the_workload(
    cgroup: str, kind: Kind, name: str
) -> None:
    with attributor() as who:
        found = who.process(process(cgroup), "")
    assert (found.kind, found.workload) == (kind, name)
    assert found.owner == Owner()


def test_process_when_labels_change_then_the_owner_does_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogue_module, "REFRESH_S", 0.02)
    docker = Known("docker", box(team="search"))
    with attributor(docker) as who:
        facts = process(IN_BOX)
        first = who.process(facts, "")
        assert who.process(facts, "") is first
        docker.all = [box(team="ads")]
        wait_until(lambda: who.process(process(IN_BOX), "").owner.team == "ads")


def test_process_when_noticed_then_its_container_is_asked_for_at_once() -> None:
    docker = Known("docker")
    with attributor(docker) as who:
        who.notice(process(IN_BOX))
        wait_until(lambda: docker.asked == [BOX])


def test_label_when_it_cannot_stand_in_the_books_then_the_next_candidate_does() -> None:
    labels = {"gpuledger.io/team": "x" * (MAX_LABEL + 1), "team": "search"}
    with attributor(Known("docker", box(**labels))) as who:
        assert who.process(process(IN_BOX), "").owner.team == "search"
        assert who.labels_refused == 1


def test_labels_when_ever_new_workloads_have_bad_ones_then_the_log_is_not_flooded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = [1.0]
    clock = SimpleNamespace(monotonic=lambda: hour[0] * 3600)
    monkeypatch.setattr(admission, "time", clock)
    made = Attributor([], RULES, Owner())
    for hour[0] in (1.0, 1.5, 2.0):
        for n in range(LINES):
            made.process(process(pid=n + 1, GPULEDGER_TEAM="a\nb"), f"{hour[0]} {n}")
            made.process(process(pid=n + 1, GPULEDGER_TEAM="a\nb"), f"{hour[0]} {n}")
    lines = [r.getMessage() for r in caplog.records]
    assert len(lines) == 2 * LINES
    assert lines[0] == (
        "event=label_refused field=team whose='user 1.0 0'"
        " reason='holds characters that do not print'"
    )
    assert made.labels_refused == 6 * LINES


def test_label_when_it_says_unattributed_then_it_is_refused() -> None:
    with attributor(Known("docker", box(team="unattributed"))) as who:
        assert who.process(process(IN_BOX), "").owner == Owner()
        assert who.labels_refused > 0


def test_process_when_its_environment_or_its_users_name_is_known_late_then_it_counts() -> None:
    with attributor() as who:
        assert who.process(process(GPULEDGER_TEAM=""), "1000").owner == Owner()
        assert who.process(process(GPULEDGER_TEAM="search"), "1000").owner.team == "search"
    made = Attributor([], Rules((BY_USER,)), Owner())
    facts = process()
    assert made.process(facts, "1000").owner == Owner()
    assert made.process(facts, "ann").owner.team == "anns"


BY_USER = rules_file.parse('[[rule]]\noverride = true\nuser = "ann"\nteam = "anns"', "f").rules[0]


def test_labels_when_a_user_makes_up_ever_new_ones_then_the_excess_is_nobodys() -> None:
    with attributor() as who:
        teams = [
            who.process(process(pid=n + 1, GPULEDGER_TEAM=f"team-{n}"), "bob").owner.team
            for n in range(LIMIT_EACH + 40)
        ]
        assert teams[:LIMIT_EACH] == [f"team-{n}" for n in range(LIMIT_EACH)]
        assert set(teams[LIMIT_EACH:]) == {""}
        assert who.labels_excess == 40
        # Those in use stay known, and others may name new ones.
        assert who.process(process(pid=900, GPULEDGER_TEAM="team-3"), "bob").owner.team == "team-3"
        assert who.process(process(pid=901, GPULEDGER_TEAM="new"), "ann").owner.team == "new"


def test_labels_when_a_containers_processes_make_them_up_then_they_are_the_containers() -> None:
    with attributor(Known("docker", box())) as who:
        for n in range(LIMIT_EACH):
            who.process(process(IN_BOX, pid=n + 1, GPULEDGER_TEAM=f"team-{n}"), f"user-{n}")
        assert not who.process(process(IN_BOX, pid=900, GPULEDGER_TEAM="x"), "eve").owner.team
        assert who.process(process(pid=901, GPULEDGER_TEAM="x"), "eve").owner.team == "x"


def test_labels_when_they_are_in_use_for_hours_then_they_keep_their_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hour = [0.0]
    monkeypatch.setattr(admission, "time", SimpleNamespace(monotonic=lambda: hour[0] * 3600))
    made = Attributor([], RULES, Owner())
    made.process(process(pid=1, GPULEDGER_TEAM="search"), "ann")
    for hour[0] in (0.7, 1.4):
        made.keep_only({ProcessKey(1, 1)}, [])
    for n in range(LIMIT):
        made.process(process(pid=n + 2, GPULEDGER_TEAM=f"t{n}"), f"u{n}")
    assert made.process(process(pid=900, GPULEDGER_TEAM="search"), "ann").owner.team == "search"


def test_rules_when_strangers_filled_the_host_with_values_then_the_operators_own_are_taken() -> (
    None
):
    made = Attributor([], Rules((BY_USER, *RULES.rules)), Owner(model="ours"))
    for n in range(LIMIT + 10):
        made.process(process(pid=n + 1, GPULEDGER_TEAM=f"t{n}", GPULEDGER_MODEL=f"m{n}"), f"u{n}")
    assert made.labels_excess == 20
    found = made.process(process(pid=900, GPULEDGER_TEAM="t1"), "ann")
    assert found.owner == Owner(team="anns", model="ours", source="environment")
    made.keep_only({ProcessKey(900, 1)}, [])
    assert made.labels_excess == 20, "what is not counted against anybody is not refused either"


@pytest.mark.parametrize("name", ["ml/" + "x" * MAX_LABEL, "line\nbreak", "\u202e"])
def test_workloads_when_their_names_cannot_stand_then_each_has_another_that_can(name: str) -> None:
    """Grants of the kubelet have no id to go by: two of no name would be one."""
    pods = [Workload(Kind.POD, "", name + end, devices=("0",)) for end in ("1", "2")]
    with attributor(Known("kubelet", *pods)) as who:
        first, second = (who.grant(granted).workload for granted in who.granted())
    assert first != second
    for found in (first, second):
        assert found.isprintable()
        assert len(found) <= MAX_LABEL
    # A process of that pod is booked by the same name.
    with attributor(Known("cri", Workload(Kind.POD, POD, name + "1"))) as who:
        assert who.process(process(IN_POD), "").workload == first


@pytest.mark.parametrize(
    ("cgroup", "name"),
    [
        ("0::/lxc.payload.research-node-1", "research-node-1"),
        ("0::/slurmstepd.scope/sEKNKTV3WPV500/step_0", "sEKNKTV3WPV500"),
        (f"0::/kubepods/burstable/pod{UID}", UID),
    ],
)
def test_workload_when_nobody_knows_it_then_its_id_is_not_cut_short(cgroup: str, name: str) -> None:
    """research-node-1 and research-node-2 are not the same."""
    with attributor() as who:
        assert who.process(process(cgroup), "").workload == name


def test_grant_when_the_kubelet_gives_it_then_the_pods_labels_name_its_owner() -> None:
    granted = Workload(Kind.POD, "", "ml/ranker-0", namespace="ml", devices=("GPU-1",))
    with attributor(Known("cri", pod(team="search")), Known("kubelet", granted)) as who:
        [one] = who.granted()
        found = who.grant(one)
    assert found.owner == Owner(team="search", source="cri")
    assert (found.kind, found.workload) == (Kind.POD, "ml/ranker-0")


def test_grant_when_a_container_is_named_like_the_pods_then_only_the_pods_runtime_is_heard() -> (
    None
):
    granted = Workload(Kind.POD, "", "ml/ranker-0", namespace="ml", devices=("GPU-1",))
    forged = Workload(Kind.POD, BOX, "ml/ranker-0", {"team": "ads", "pool": "cheap"})
    docker, kubelet = Known("docker", forged), Known("kubelet", granted)
    with attributor(docker, Known("cri", pod(team="search")), kubelet) as who:
        [one] = who.granted()
        assert who.grant(one).owner == Owner(team="search", source="cri")
    with attributor(docker, kubelet) as who:
        [one] = who.granted()
        assert who.grant(one).owner.team == "ads", "where Docker is the pods' runtime"


def test_grant_when_kubelet_and_runtime_tell_of_a_pod_then_the_kubelets_word_counts() -> None:
    by_cri = Workload(Kind.POD, POD, "ml/ranker-0", devices=("all",))
    by_kubelet = Workload(Kind.POD, "", "ml/ranker-0", devices=("GPU-1",))
    with attributor(Known("cri", by_cri), Known("kubelet", by_kubelet)) as who:
        assert [(g.source, g.workload.devices) for g in who.granted()] == [("kubelet", ("GPU-1",))]
    with attributor(Known("cri", by_cri)) as who:
        assert [g.source for g in who.granted()] == ["cri"]


def test_grant_when_the_runtime_has_no_such_pod_any_more_then_it_is_over() -> None:
    """Kubelets before 1.34 list ended pods until they are deleted."""
    ended = Workload(Kind.POD, "", "ml/trainer-0", devices=("GPU-1",))
    with attributor(Known("cri", pod(team="search")), Known("kubelet", ended)) as who:
        assert who.granted() == []


def test_grant_when_two_sockets_lead_to_one_runtime_then_it_counts_once() -> None:
    docker, podman = Known("docker", box(devices=("0",))), Known("podman", box(devices=("0",)))
    with attributor(docker, podman) as who:
        assert [g.source for g in who.granted()] == ["docker"]


def test_grant_when_two_runtimes_have_a_container_of_one_name_then_each_has_its_own_labels() -> (
    None
):
    theirs = Workload(Kind.CONTAINER, INNER, "ranker", {"team": "ads"})
    docker = Known("docker", box(devices=("0",)))
    with attributor(docker, Known("podman", theirs)) as who:
        [one] = who.granted()
        assert who.grant(one).owner == Owner()


def test_grant_when_its_container_was_started_with_an_owner_then_it_is_that() -> None:
    own = Workload(
        Kind.CONTAINER, BOX, "ranker", {"team": "x"}, environ={"GPULEDGER_TEAM": "search"},
        devices=("0",),
    )  # fmt: skip
    with attributor(Known("docker", own)) as who:
        [one] = who.granted()
        assert who.grant(one).owner == Owner(team="search", source="environment")
        assert who.process(process(IN_BOX), "").owner == who.grant(one).owner


def test_attributor_when_processes_and_grants_end_then_it_forgets_them() -> None:
    with attributor(Known("docker", box(team="search", devices=("0",)))) as who:
        facts = process(IN_BOX)
        first = who.process(facts, "")
        [one] = who.granted()
        granted = who.grant(one)
        who.keep_only({facts.key}, [one])
        assert who.process(facts, "") is first
        assert who.grant(one) is granted
        who.keep_only(set(), [])
        assert who.process(facts, "") is not first
        assert who.grant(one) is not granted


HOSTILE = ["\ud800", "\0", "a\nb", "\u202eevil", "'; DROP TABLE gpus--"]
hostile = st.text(max_size=300) | st.sampled_from(HOSTILE)


@given(
    labels=st.dictionaries(
        st.sampled_from(["team", "model", "app.kubernetes.io/name", "slurm/account"]) | hostile,
        hostile,
        max_size=30,
    ),
    name=hostile,
    environ=st.dictionaries(st.sampled_from(sorted(RULES.variables())), hostile),
    cgroup=hostile | st.just(IN_BOX),
)
def test_owner_when_labels_are_anything_then_what_is_named_can_stand_in_the_books(
    labels: dict[str, str], name: str, environ: dict[str, str], cgroup: str
) -> None:
    with attributor(Known("docker", Workload(Kind.CONTAINER, BOX, name, labels))) as who:
        found = who.process(process(cgroup, **environ), "ann")
    for text in (*(getattr(found.owner, field) for field in FIELDS), found.workload):
        assert len(text) <= MAX_LABEL
        assert text.isprintable()
        text.encode()
