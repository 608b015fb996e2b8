"""What CriSource makes of a runtime that is sick or lies; a scripted server plays it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import grpc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpuledger_agent.attribution import cri as module
from gpuledger_agent.attribution.base import (
    MAX_VALUE_BYTES,
    SourceError,
    Workload,
)
from gpuledger_agent.attribution.cri import CriSource
from gpuledger_agent.attribution.labels import MAX_LABELS
from gpuledger_proto.kubernetes import cri_pb2 as cri
from tests.runtimes.scripted_cri import (
    CONTAINERS,
    REF,
    SANDBOXES,
    STATUS,
    a_container,
    a_sandbox,
    a_status,
    new_source,
    only,
    serve,
)
from tests.runtimes.scripted_grpc import HANGS, ScriptedServer

KEYS = ("envs", "key", "value", "CDI_devices", "name", "process", "env", "binary_name")

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.just("GPULEDGER_TEAM=a"),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=10,
)

INFO = st.fixed_dictionaries(
    {},
    optional={
        "config": ANYTHING | st.fixed_dictionaries({"envs": ANYTHING, "CDI_devices": ANYTHING}),
        "runtimeSpec": ANYTHING | st.fixed_dictionaries({"process": ANYTHING}),
        "runtimeOptions": ANYTHING,
    },
)


@given(info=st.binary() | INFO.map(json.dumps).map(str.encode))
@example(info=b'{"runtimeSpec":{"process":{"env":["GPULEDGER_TEAM=\\ud800"]}}}')
@settings(max_examples=100, deadline=None)
def test_info_when_it_is_any_json_or_none_costs_no_more_than_the_environment(
    scripted_cri: ScriptedServer, info: bytes
) -> None:
    serve(scripted_cri, [a_container(labels={"team": b"a"})])
    scripted_cri.answers[STATUS] = a_status(info)
    source = new_source(scripted_cri)
    found = only(source)
    source.close()
    assert found.labels == {"team": "a"}
    assert all(name.startswith("GPULEDGER_") for name in found.environ)
    "".join((*found.environ, *found.environ.values(), *found.devices)).encode()


@given(
    container=st.dictionaries(st.text(), st.binary()), pod=st.dictionaries(st.text(), st.binary())
)
@settings(max_examples=50, deadline=None)
def test_labels_when_they_are_any_bytes_are_kept_as_text(
    scripted_cri: ScriptedServer, container: dict[str, bytes], pod: dict[str, bytes]
) -> None:
    serve(scripted_cri, [a_container(labels=container)], [a_sandbox(annotations=pod)])
    source = new_source(scripted_cri)
    found = only(source)
    source.close()
    expected = {**pod, **container}
    assert found.labels == {k: v.decode("utf-8", "replace") for k, v in expected.items()}


@given(answers=st.fixed_dictionaries({m: st.binary() for m in (CONTAINERS, SANDBOXES, STATUS)}))
@settings(max_examples=100, deadline=None)
def test_answers_when_they_are_any_bytes_raise_nothing_but_source_errors(
    scripted_cri: ScriptedServer, answers: dict[str, bytes]
) -> None:
    scripted_cri.answers = dict(answers)
    source = new_source(scripted_cri)
    for ask in (source.workloads, lambda: source.workload(REF)):
        try:
            answer = ask()
        except SourceError as error:
            assert "\n" not in str(error)
        else:
            assert answer is None or isinstance(answer, Workload | list)
    source.close()


def test_labels_when_too_many_or_too_long_are_left_out(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    longest, too_long = b"x" * MAX_VALUE_BYTES, b"x" * (MAX_VALUE_BYTES + 1)
    many = {f"k{n:04}": b"v" for n in range(MAX_LABELS - 1)}
    serve(
        cri_server,
        [a_container(labels={"fits": longest, "too-long": too_long, too_long.decode(): b""})],
        [a_sandbox(labels=many)],
    )
    assert only(cri_source).labels == {"fits": longest.decode()} | dict.fromkeys(many, "v")


def test_labels_when_there_are_too_many_are_the_shortest(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    many = {f"k{n:04}": b"v" for n in range(MAX_LABELS)}
    serve(
        cri_server,
        [a_container(labels={"team": b"a", "manifest": b"x" * MAX_VALUE_BYTES})],
        [a_sandbox(labels=many | {"team": b"b"})],
    )
    labels = only(cri_source).labels
    assert labels.keys() == {"team", *sorted(many)[: MAX_LABELS - 1]}
    assert labels["team"] == "a"


def test_environment_when_a_variable_is_too_long_is_read_without_it(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    env = ["GPULEDGER_TEAM=a", "GPULEDGER_MODEL=" + "é" * MAX_VALUE_BYTES]
    serve(cri_server, info={"runtimeSpec": {"process": {"env": env}}})
    assert only(cri_source).environ == {"GPULEDGER_TEAM": "a"}


def test_devices_when_their_variable_is_too_long_are_none(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    env = ["NVIDIA_VISIBLE_DEVICES=" + "0," * MAX_VALUE_BYTES]
    serve(cri_server, info={"runtimeSpec": {"process": {"env": env}}})
    assert only(cri_source).devices == ()


def test_environment_when_there_are_too_many_variables_is_cut_to_the_limit(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    env = [f"GPULEDGER_{n}=" for n in range(MAX_LABELS + 1)]
    serve(cri_server, info={"runtimeSpec": {"process": {"env": env}}})
    assert len(only(cri_source).environ) == MAX_LABELS


def test_image_when_its_name_is_too_long_is_left_out(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    too_long = {"image": "x" * (MAX_VALUE_BYTES + 1)}
    serve(cri_server, [a_container(image=too_long, image_ref="vllm:1")])
    assert only(cri_source).image == "vllm:1"


def test_info_when_it_is_nested_too_deep_or_too_big_is_not_read(cri_server: ScriptedServer) -> None:
    serve(cri_server, [a_container(labels={"team": b"a"})])
    for info in (b"[" * 200_000, b'{"config":"' + b"x" * (5 << 20) + b'"}'):
        cri_server.answers[STATUS] = a_status(info)
        other = new_source(cri_server)
        assert only(other).labels == {"team": "a"}
        other.close()


@pytest.mark.parametrize("answer", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNKNOWN, HANGS])
def test_container_when_its_status_is_not_to_be_had_is_listed_and_asked_for_again(
    cri_server: ScriptedServer,
    cri_source: CriSource,
    monkeypatch: pytest.MonkeyPatch,
    answer: object,
) -> None:
    monkeypatch.setattr(module, "STATUS_S", 0.05)
    status = a_status(b'{"runtimeSpec": {"process": {"env": ["GPULEDGER_TEAM=a"]}}}')
    sick = "5" * 64
    serve(cri_server, [a_container(sick, labels={"team": b"a"}), a_container()])
    cri_server.answers[STATUS] = lambda question: (
        answer if cri.ContainerStatusRequest.FromString(question).container_id == sick else status
    )
    unread, well = cri_source.workloads()
    assert (unread.labels, unread.environ) == ({"team": "a"}, {})
    assert well.environ == {"GPULEDGER_TEAM": "a"}
    cri_server.answers[STATUS] = status
    assert [w.environ for w in cri_source.workloads()] == [{"GPULEDGER_TEAM": "a"}] * 2


def test_containers_when_there_are_too_many_are_cut_to_the_limit(
    cri_server: ScriptedServer, cri_source: CriSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WORKLOADS", 3)
    serve(cri_server, [a_container(f"{n:064}") for n in range(5)])
    assert len(cri_source.workloads()) == 3
    assert cri_server.asked[STATUS] == 3


def test_runtime_when_it_hangs_is_given_up_after_the_limit(
    cri_server: ScriptedServer, cri_source: CriSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUERY_S", 0.2)
    cri_server.answers[CONTAINERS] = HANGS
    for ask in (cri_source.workloads, lambda: cri_source.workload(REF)):
        with pytest.raises(SourceError, match=r"took longer than 0\.2 seconds"):
            ask()


def test_runtime_when_it_fails_is_quoted_in_one_line(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    cri_server.answers[CONTAINERS] = grpc.StatusCode.INTERNAL
    with pytest.raises(SourceError, match=r"^INTERNAL: as the test asked x{50,300}$"):
        cri_source.workloads()


def test_answer_when_it_is_too_big_is_refused(
    cri_server: ScriptedServer, cri_source: CriSource
) -> None:
    huge = a_container(labels={"x": b"x" * (17 << 20)})
    cri_server.answers[CONTAINERS] = cri.ListContainersResponse(containers=[huge])
    with pytest.raises(SourceError, match="RESOURCE_EXHAUSTED"):
        cri_source.workloads()


def test_runtime_when_it_was_restarted_is_asked_again_at_once() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "cri.sock"
        with ScriptedServer(path) as first:
            serve(first)
            source = new_source(first)
            assert len(source.workloads()) == 1
        with pytest.raises(SourceError, match="UNAVAILABLE"):
            source.workloads()
        with ScriptedServer(path) as second:
            serve(second)
            assert len(source.workloads()) == 1
        source.close()
