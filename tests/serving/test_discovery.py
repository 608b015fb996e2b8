"""Which sockets of a workload are asked, of real processes, and which never are."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gpuledger_agent.attribution.attributor import Attribution
from gpuledger_agent.attribution.base import Kind, Workload
from gpuledger_agent.serving.discovery import Candidate, discover
from gpuledger_agent.serving.errors import ScrapeError
from gpuledger_agent.serving.families import Family
from gpuledger_agent.serving.network import namespace, within
from gpuledger_agent.serving.place import Place, PlaceError, place
from gpuledger_agent.serving.server import Server
from gpuledger_agent.serving.subjects import MAX_SUBJECTS, Subject, Subjects
from tests.live_processes import running
from tests.serving.exposed import FAMILIES
from tests.serving.hostile import listening, saying
from tests.serving.processes import OWNER, lookalike, subject

PROC = Path("/proc")


def at_port(port: int) -> tuple[Family, ...]:
    """The families, with vLLM usually at this port."""
    return tuple(replace(one, ports=(port,) if one.name == "vllm" else ()) for one in FAMILIES)


def candidates(
    subjects: Sequence[Subject], families: Sequence[Family] = FAMILIES
) -> list[Candidate]:
    return discover(subjects, families, PROC).candidates


def why_none(one: Subject, families: Sequence[Family] = FAMILIES) -> str:
    found = discover([one], families, PROC)
    assert found.candidates == []
    [(whose, why)] = found.nothing
    assert whose == one
    return why


def test_server_when_it_is_the_process_on_the_gpu_then_it_is_found_at_its_usual_port() -> None:
    with lookalike() as (pid, port):
        one = subject(pid)
        [found] = candidates([one], at_port(port))
        assert (found.subject, found.listener.port, found.paths) == (one, port, ("/metrics",))
        assert found.how == f"port {port} of a known server"
        assert found.link == f"/proc/{pid}/fd/{found.link.rpartition('/')[2]}"


def test_server_when_a_child_of_it_is_on_the_gpu_then_it_is_found() -> None:
    with lookalike(child=True) as (pid, port):
        [found] = candidates([subject(pid)], at_port(port))
        assert found.listener.port == port
        assert found.pid != pid


def test_servers_when_started_by_one_shell_then_each_belongs_to_its_own_engine() -> None:
    """Neither is in a container, both are of one session: this one."""
    with (
        lookalike(child=True, own_session=False) as one,
        lookalike(child=True, own_session=False) as other,
    ):
        engines = {port: subject(pid, workload=f"engine-{pid}") for pid, port in (one, other)}
        families = tuple(replace(family, ports=tuple(engines)) for family in FAMILIES)
        found = candidates(list(engines.values()), families)
        assert {candidate.listener.port: candidate.subject.workload for candidate in found} == {
            port: engine.workload for port, engine in engines.items()
        }


def test_server_when_labelled_then_the_label_says_port_and_path() -> None:
    with lookalike() as (pid, port):
        [found] = candidates([subject(pid, f"{port}/v2/stats")])
        assert (found.listener.port, found.paths) == (port, ("/v2/stats",))
        assert found.how == (f"rule 'built-in: gpuledger labels', label={port}/v2/stats, by docker")
        [found] = candidates([subject(pid, "/stats")])
        assert (found.listener.port, found.paths) == (port, ("/stats",))


def test_label_when_it_says_a_port_of_somebody_else_then_nobody_is_asked() -> None:
    """The listener is of this process, not of the workload that points at it."""
    with listening(saying(b"")) as ours, lookalike() as (pid, port):
        assert why_none(subject(pid, f"{ours.port}/latest/meta-data")) == (
            f"listens on {port}: rule 'built-in: gpuledger labels',"
            f" label={ours.port}/latest/meta-data, by docker says port {ours.port}"
        )
        assert ours.paths == []


@pytest.mark.parametrize(
    "said",
    [
        "http://203.0.113.5:80/",
        "203.0.113.5:80",
        "evil.example/x",
        "0",
        "65536",
        "8000 /x",
        "//x y",
    ],
)
def test_label_when_it_is_no_place_then_it_says_what_to_write(said: str) -> None:
    with lookalike() as (pid, _):
        assert why_none(subject(pid, said)).endswith(
            "is no place; write PORT, PORT/PATH, /PATH or off"
        )


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("8000", Place(8000)),
        (":8000", Place(8000)),
        ("8000/v1/metrics?a=b", Place(8000, "/v1/metrics?a=b")),
        ("/metrics", Place(None, "/metrics")),
        ("65535/", Place(65535, "/")),
        ("off", Place(off=True)),
        ("False", Place(off=True)),
    ],
)
def test_place_when_written_then_port_and_path_are_taken(said: str, meant: Place) -> None:
    assert place(said) == meant


@pytest.mark.parametrize("said", ["", ":", "٣", "8000/a\r\nHost: x", "8000/a b", "-1", "80.0"])
def test_place_when_it_is_anything_else_then_it_is_refused(said: str) -> None:
    with pytest.raises(PlaceError):
        place(said)


def test_workload_when_it_is_to_be_left_alone_then_it_is() -> None:
    with lookalike() as (pid, port):
        assert "is to be left alone" in why_none(subject(pid, "off"), at_port(port))


def test_workload_when_it_has_no_server_then_the_reason_is_told() -> None:
    with running(start_new_session=True) as process:
        assert why_none(subject(process.pid)) == "listens on no TCP port that the agent can see"
    with lookalike() as (pid, port):
        assert why_none(subject(pid), at_port(port - 1)) == (
            f"listens on {port}: no port of a known server"
        )
    assert why_none(subject(process.pid)) == "listens on no TCP port that the agent can see"


def test_server_when_it_listens_twice_at_one_port_then_it_counts_once() -> None:
    with (
        listening(saying(b"")) as four,
        socket.socket(socket.AF_INET6) as six,
    ):
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        six.bind(("::1", four.port))
        six.listen()
        [found] = candidates([subject(os.getpid(), str(four.port))])
        assert found.listener.address == "127.0.0.1"


def test_subjects_when_they_are_without_end_then_so_many_are_looked_at() -> None:
    gathered = Subjects()
    for number in range(MAX_SUBJECTS + 10):
        workload = Workload(Kind.CONTAINER, str(number), str(number))
        gathered.grant(workload, Attribution(OWNER, Kind.CONTAINER, str(number), ""), OWNER)
    assert len(gathered.all()) == MAX_SUBJECTS


def test_server_when_in_a_namespace_of_the_workloads_own_then_whoever_holds_it_it_is_found(
    apart: int,
) -> None:
    """As that of another container of the pod: this process, which is of no workload."""
    bound = within(
        apart, namespace(apart, PROC), PROC, lambda: socket.create_server(("127.0.0.1", 8002))
    )
    with bound:
        [found] = candidates([subject(apart)])
        assert (found.listener.port, found.link) == (8002, "")
        assert found.namespace == namespace(apart, PROC) != namespace(os.getpid(), PROC)
    assert candidates([subject(apart)]) == []


LOOKS = """
import sys
from pathlib import Path
from gpuledger_agent.serving.network import own_namespace
from tests.serving.exposed import FAMILIES
from tests.serving.processes import subject
from gpuledger_agent.serving.discovery import discover
own_namespace()
found = discover([subject(int(sys.argv[1]), sys.argv[2])], FAMILIES, Path("/proc"))
print([one.listener.port for one in found.candidates], *(why for _, why in found.nothing))
"""


def test_namespace_when_it_is_the_hosts_and_not_the_agents_then_it_is_no_workloads_own(
    apart: int,
) -> None:
    """The agent runs in a container without the host's network, the workload has it."""
    assert apart
    with listening(saying(b"")) as ours, lookalike() as (pid, port):
        for said, expected in ((port, f"[{port}]"), (ours.port, f"[] listens on {port}: ")):
            done = subprocess.run(
                ["unshare", "--net", sys.executable, "-c", LOOKS, str(pid), str(said)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert done.stdout.startswith(expected)


def test_server_when_another_took_its_port_since_it_was_found_then_that_one_is_not_asked() -> None:
    with listening(saying(b"")) as first:
        [found] = candidates([subject(os.getpid(), str(first.port))])
        first.end()
        with listening(saying(b""), made=socket.create_server(("127.0.0.1", first.port))) as other:
            with pytest.raises(ScrapeError) as caught:
                Server(found, None, 0.0, 0.0).ask(FAMILIES, PROC)
            assert caught.value.reason == "gone"
            assert other.paths == []


def test_server_when_it_fails_again_and_again_then_it_is_asked_ever_more_seldom() -> None:
    with listening(saying(b"")) as server:
        [found] = candidates([subject(os.getpid(), str(server.port))])
    stranger = Server(found, None, 0.0, 0.0)
    known = Server(found, None, 0.0, 0.0, family="vllm")
    pauses: dict[str, list[float]] = {"": [], "vllm": []}
    for one in (stranger, known):
        for _ in range(7):
            one.failed(ScrapeError("timeout", "is slow"), 100.0)
            pauses[one.family].append(one.due - 100.0)
    assert pauses == {"": [10, 20, 40, 80, 160, 300, 300], "vllm": [10, 20, 40, 60, 60, 60, 60]}
