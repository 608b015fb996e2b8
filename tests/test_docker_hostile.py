"""DockerSource against answers of any shape, from a scripted server: real HTTP on a real socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpuledger_agent.attribution.base import (
    MAX_VALUE_BYTES,
    MAX_WORKLOADS,
    SourceError,
    Workload,
)
from gpuledger_agent.attribution.docker import DockerSource
from gpuledger_agent.attribution.docker_container import MAX_DEVICES
from gpuledger_agent.attribution.labels import MAX_LABELS, MAX_TEXT
from tests.runtimes.scripted_engine import ScriptedEngine, raw_server, scripted_engine

ID, SANDBOX = "a" * 64, "b" * 64

TEXT = st.text(st.characters())  # halves of surrogate pairs included

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)

VARIABLE = st.sampled_from(
    ["NVIDIA_VISIBLE_DEVICES=", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=", "TEAM=", ""]
).flatmap(lambda name: (TEXT | st.just("50")).map(lambda value: name + value))

POD = {"io.kubernetes.pod.name": TEXT, "io.kubernetes.pod.namespace": TEXT}

REQUEST = st.fixed_dictionaries(
    {
        "Driver": st.sampled_from(["", "nvidia", "cdi", "amd"]),
        "Count": st.integers(),
        "DeviceIDs": st.none() | st.lists(TEXT | st.just("nvidia.com/gpu=0")),
        "Capabilities": st.lists(st.lists(st.sampled_from(["gpu", "compute"]))),
    }
)

INSPECTED = st.fixed_dictionaries(
    {
        "Name": TEXT,
        "Config": st.fixed_dictionaries(
            {
                "Env": st.lists(VARIABLE),
                "Labels": st.dictionaries(TEXT, TEXT)
                | st.fixed_dictionaries(POD | {"io.kubernetes.sandbox.id": st.just(SANDBOX)}),
                "Image": TEXT,
            }
        ),
        "HostConfig": st.fixed_dictionaries(
            {
                "Runtime": st.sampled_from(["nvidia", "runc"]),
                "DeviceRequests": st.none() | st.lists(REQUEST),
                "Devices": st.lists(
                    st.fixed_dictionaries({"PathOnHost": st.just("/dev/nvidia0") | TEXT})
                ),
            }
        ),
    }
)

LISTED = st.lists(
    st.fixed_dictionaries({"Id": st.just(ID) | TEXT, "Names": st.lists(TEXT.map("/".__add__))}),
    min_size=1,
)


@st.composite
def almost(draw: st.DrawFn, right: st.SearchStrategy[Any]) -> Any:
    """What is right but for up to two places, where anything may stand."""

    def spoiled(value: Any) -> Any:
        if not (isinstance(value, dict | list) and value and draw(st.integers(0, 3))):
            return draw(ANYTHING)
        places = list(value) if isinstance(value, dict) else range(len(value))
        place = draw(st.sampled_from(places))
        value[place] = spoiled(value[place])
        return value

    value = draw(right)
    for _ in range(draw(st.integers(0, 2))):
        value = spoiled(value)
    return value


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedEngine]:
    """One for many examples."""
    with scripted_engine(tmp_path_factory.mktemp("engine") / "engine.sock") as scripted:
        yield scripted


def told(engine: ScriptedEngine) -> list[Workload]:
    """What a new source tells. A SourceError is an answer too, if it is one line."""
    try:
        return list(DockerSource(engine.socket, lambda _variable: True).workloads())
    except SourceError as error:
        assert str(error).isprintable()
        return []


def assert_fit_to_keep(workload: Workload) -> None:
    texts = [workload.name, workload.image, workload.namespace, *workload.devices]
    for pairs in (workload.labels, workload.environ):
        assert len(pairs) <= MAX_LABELS
        texts += [*pairs.keys(), *pairs.values()]
        assert sum(map(len, (*pairs.keys(), *pairs.values()))) <= MAX_TEXT
    for text in texts:
        assert len(text.encode()) <= 2 * MAX_VALUE_BYTES  # a pod's name is two texts
    assert len(workload.devices) <= MAX_DEVICES
    assert 0 < workload.share <= 1


@given(listed=almost(LISTED), inspected=almost(INSPECTED), sandbox=almost(INSPECTED))
def test_workloads_when_answers_are_any_json_tells_what_is_fit_or_fails(
    engine: ScriptedEngine, listed: Any, inspected: Any, sandbox: Any
) -> None:
    engine.answers = {
        "/containers/json": listed,
        f"/containers/{ID}/json": inspected,
        f"/containers/{SANDBOX}/json": sandbox,
    }
    for workload in told(engine):
        assert_fit_to_keep(workload)


@given(body=st.binary())
@example(body=b"[" * 1_000_000)
@example(body=b"9" * 10_000)
def test_workloads_when_the_answer_is_any_bytes_fails(engine: ScriptedEngine, body: bytes) -> None:
    engine.answers = {"/containers/json": body}
    assert told(engine) == []


@given(said=st.binary())
@example(said=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
@example(said=b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")
@example(said=b"HTTP/1.1 204 No Content\r\nApi-Version: 1.43\r\n\r\n")
def test_workloads_when_the_server_says_anything_but_http_fails(
    talker: list[bytes], talker_socket: Path, said: bytes
) -> None:
    talker[:] = [said]
    with pytest.raises(SourceError) as refusal:
        DockerSource(talker_socket, lambda _variable: True).workloads()
    assert str(refusal.value).isprintable()


@pytest.fixture(scope="module")
def talker() -> list[bytes]:
    """What the server behind `talker_socket` says before it hangs up."""
    return []


@pytest.fixture(scope="module")
def talker_socket(talker: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    def talk(connection: socket.socket, _over: threading.Event) -> None:
        connection.recv(4096)
        connection.sendall(talker[0])

    path = tmp_path_factory.mktemp("talker") / "talker.sock"
    with raw_server(path, talk):
        yield path


def test_workloads_when_a_container_has_too_much_of_everything_keeps_what_is_allowed(
    engine: ScriptedEngine,
) -> None:
    longest, too_long = "x" * MAX_VALUE_BYTES, "x" * (MAX_VALUE_BYTES + 1)
    first = {"longest": longest, "too_long": too_long, "wide": "é" * MAX_VALUE_BYTES, "number": 5}
    labels = {**first, **{f"label{i:03}": "" for i in range(MAX_LABELS - 1)}}
    request = {"Driver": "nvidia", "Count": 10**9}
    inspected = {
        "Config": {"Labels": labels, "Env": [f"V{i}=x" for i in range(1000)], "Image": too_long},
        "HostConfig": {"DeviceRequests": [request]},
    }
    engine.containers({ID: inspected})
    (kept,) = told(engine)
    assert_fit_to_keep(kept)
    assert kept.labels["longest"] == longest
    assert not {"too_long", "wide", "number"} & kept.labels.keys()
    assert (len(kept.labels), len(kept.environ)) == (MAX_LABELS, MAX_LABELS)
    assert kept.image == ""
    assert kept.devices == tuple(str(ordinal) for ordinal in range(MAX_DEVICES))


def test_workloads_when_too_many_containers_run_looks_at_no_more_than_allowed(
    engine: ScriptedEngine,
) -> None:
    ids = [f"{number:064x}" for number in range(MAX_WORKLOADS + 10)]
    engine.answers = {"/containers/json": [{"Id": i, "Names": []} for i in ids]}
    engine.answers |= {f"/containers/{i}/json": b"{}" for i in ids}
    source = DockerSource(engine.socket, lambda _variable: True)
    found: list[Workload] = []
    while len(found) < MAX_WORKLOADS:  # a call ends in time, and the next goes on from there
        before = len(found)
        found = list(source.workloads())
        assert len(found) > before
    assert sorted(workload.id for workload in source.workloads()) == ids[:MAX_WORKLOADS]
