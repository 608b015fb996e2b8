"""Who a pid is, asked of this machine's own /proc about real processes."""

from __future__ import annotations

import os
import resource
import shutil
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from gpuledger_agent.attribution.base import MAX_VALUE_BYTES
from gpuledger_agent.environ import ENVIRON_LIMIT, MAX_VARIABLES, variables
from gpuledger_agent.processes import HostProcesses
from gpuledger_agent.records import ProcessKey
from tests.live_processes import CAT, end, held_files, many, running

NOBODY = 65_534


def ours(variable: str) -> bool:
    return variable.startswith("GPULEDGER_")


@pytest.fixture
def table() -> HostProcesses:
    return HostProcesses(ours)


def environ_of(env: Mapping[bytes, bytes]) -> Mapping[str, str]:
    """What is kept of this environment of a real process."""
    with running(env) as process:
        facts = HostProcesses(ours).identify(process.pid, 1.0)
        assert facts.environ_error == ""
        return facts.environ


def test_process_when_it_runs_then_its_facts_are_those_of_proc(table: HostProcesses) -> None:
    with running({b"GPULEDGER_TEAM": b"search", b"PATH": b"/bin"}) as process:
        facts = table.identify(process.pid, 1.0)
        witness = psutil.Process(process.pid)
        assert facts.started == pytest.approx(witness.create_time(), abs=1.1)
        assert facts.key == ProcessKey(process.pid, int(facts.started))
        assert (facts.name, facts.visible) == (witness.name(), True)
        assert facts.uid == witness.uids().real
        assert facts.cgroup == Path(f"/proc/{process.pid}/cgroup").read_text()
        assert facts.environ == {"GPULEDGER_TEAM": "search"}


def test_process_when_identified_again_then_the_facts_are_the_first_ones(
    table: HostProcesses,
) -> None:
    with running() as process:
        first = table.identify(process.pid, 1.0)
        assert table.identify(process.pid, 2.0) is first
        assert table.facts(first.key) is first


@pytest.mark.parametrize(
    "name",
    [b"a) R 1 (b", b"two words", b"line\nbreak", b"\xff\xfe\xc3", "größe🙂".encode(), b"(", b")"],
)
def test_name_when_it_is_strange_then_it_is_told_whole(
    table: HostProcesses, tmp_path: Path, name: bytes
) -> None:
    program = os.fsencode(tmp_path) + b"/" + name
    shutil.copy(CAT, program)
    with running(program=os.fsdecode(program)) as process:
        facts = table.identify(process.pid, 1.0)
        assert facts.visible
        assert facts.name == name.decode("utf-8", "replace")
        assert facts.started == pytest.approx(psutil.Process(process.pid).create_time(), abs=1.1)


def test_command_line_when_wanted_then_it_is_told_and_otherwise_not(table: HostProcesses) -> None:
    with running() as process:
        assert table.identify(process.pid, 1.0).command == ""
        wanting = HostProcesses(ours, command=True)
        assert wanting.identify(process.pid, 1.0).command == "cat"


@pytest.mark.parametrize(
    ("env", "kept"),
    [
        ({}, {}),
        ({b"GPULEDGER_TEAM": b"a=b\nc ", b"HOME": b"/"}, {"GPULEDGER_TEAM": "a=b\nc "}),
        ({b"GPULEDGER_TEAM": b"\xff\xfe"}, {"GPULEDGER_TEAM": "\ufffd\ufffd"}),
        ({b"GPULEDGER_TEAM": b""}, {"GPULEDGER_TEAM": ""}),
        ({b"XGPULEDGER_TEAM": b"x", b"gpuledger_team": b"x"}, {}),
    ],
)
def test_environment_when_read_then_only_what_is_wanted_is_kept(
    env: Mapping[bytes, bytes], kept: Mapping[str, str]
) -> None:
    assert environ_of(env) == kept


def test_environment_when_a_value_is_longer_than_any_label_then_it_is_not_kept() -> None:
    """A thousand processes could else have the agent hold a gibibyte."""
    longest = b"x" * MAX_VALUE_BYTES
    env = {b"GPULEDGER_TEAM": longest + b"x", b"GPULEDGER_MODEL": longest}
    assert environ_of(env) == {"GPULEDGER_MODEL": longest.decode()}


def test_environment_when_it_has_very_many_variables_then_the_first_are_looked_at() -> None:
    many = b"".join(b"%d=\0" % n for n in range(MAX_VARIABLES - 1))
    raw = many + b"GPULEDGER_TEAM=search\0GPULEDGER_MODEL=ranker\0"
    assert variables(raw, ours) == {"GPULEDGER_TEAM": "search"}


def bulk(size: int) -> dict[bytes, bytes]:
    """Variables that take `size` bytes of an environment; the kernel takes 128 KiB for one."""
    most = 60_000
    sizes = [most] * (size // most - 1) + [size - most * (size // most - 1)]
    return {b"B%02d" % n: b"x" * (size - len("B00=\0")) for n, size in enumerate(sizes)}


def test_environment_when_huge_then_what_lies_within_the_limit_is_kept() -> None:
    first = {b"GPULEDGER_TEAM": b"search"}
    after = {b"GPULEDGER_MODEL": b"ranker"}
    assert environ_of(first | bulk(ENVIRON_LIMIT) | after) == {"GPULEDGER_TEAM": "search"}


@pytest.mark.parametrize("left", [15, 16, 20, 21, 22])
def test_environment_when_the_limit_falls_into_a_variable_then_half_of_it_is_not_taken(
    left: int,
) -> None:
    """ "search-ads" cut to "search" would be another team's."""
    variable = b"GPULEDGER_TEAM=search\0"
    whole = left == len(variable)
    env = bulk(ENVIRON_LIMIT - left) | {b"GPULEDGER_TEAM": b"search"}
    assert environ_of(env) == ({"GPULEDGER_TEAM": "search"} if whole else {})


@contextmanager
def as_somebody() -> Iterator[int]:
    """As a user who may not read everything; the user's number."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield os.geteuid()
    finally:
        os.seteuid(before)


def test_environment_when_it_may_not_be_read_then_the_reason_is_told_and_the_rest_is_known(
    table: HostProcesses,
) -> None:
    with as_somebody() as uid:
        others = (one for one in psutil.process_iter() if one.uids().real != uid)
        other = next(others, None)
        if other is None:
            pytest.skip("every process that can be seen here is ours")
        facts = table.identify(other.pid, 1.0)
    assert (facts.environ, facts.environ_error) == ({}, "Permission denied")
    assert facts.visible
    assert facts.uid == other.uids().real
    assert facts.name == Path(f"/proc/{other.pid}/comm").read_text().rstrip("\n")


def test_pid_when_there_is_no_such_process_then_only_the_pid_is_known(table: HostProcesses) -> None:
    with running() as process:
        end(process)
        facts = table.identify(process.pid, 1.0)
    assert (facts.key, facts.visible) == (ProcessKey(process.pid, 0), False)
    assert (facts.name, facts.uid, facts.environ) == ("", None, {})
    assert table.facts(facts.key) is facts


def test_process_when_it_vanishes_then_it_keeps_its_facts(table: HostProcesses) -> None:
    """Drivers list a process a little longer than /proc does."""
    with running({b"GPULEDGER_TEAM": b"search"}) as process:
        facts = table.identify(process.pid, 1.0)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert table.identify(process.pid, 2.0) is facts, "a zombie"
        process.wait()
        assert table.identify(process.pid, 3.0) is facts, "gone"


def test_processes_when_pruned_then_they_are_forgotten_and_their_files_closed(
    table: HostProcesses,
) -> None:
    with running() as early, running() as late:
        pids = [early.pid, late.pid]
        old, new = (table.identify(pid, 1.0) for pid in pids)
        for now in (2.0, 3.0):
            table.identify(late.pid, now)
        assert len(held_files(pids)) == 2, "one for each, however often it was looked at"
        table.prune(1.0)
        assert len(held_files(pids)) == 2
        table.prune(2.5)
        assert (table.facts(old.key), table.facts(new.key)) == (None, new)
        assert held_files([early.pid]) == []
        again = table.identify(early.pid, 4.0)
        assert again == old


def test_process_when_it_has_ended_then_it_is_still_known_but_its_file_is_closed(
    table: HostProcesses,
) -> None:
    """Processes that come and go fast must not take all files that the agent may open."""
    with running() as process:
        facts = table.identify(process.pid, 1.0)
        table.prune(1.0)
        descriptors = len(held_files([process.pid]))
        opened = len(list(Path("/proc/self/fd").iterdir()))
    assert descriptors == 1
    table.prune(1.0)
    assert len(list(Path("/proc/self/fd").iterdir())) == opened - 3, "ours, and two pipes to it"
    assert table.facts(facts.key) is facts
    assert table.identify(process.pid, 2.0) is facts


def test_processes_when_a_thousand_then_all_are_known_and_none_is_kept_for_ever(
    table: HostProcesses,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        with many(1000) as (pids, parent):
            known = {pid: table.identify(pid, 1.0) for pid in pids}
            assert len({facts.key for facts in known.values() if facts.visible}) == 1000
            assert all(table.identify(pid, 2.0) is known[pid] for pid in pids)
            assert len(held_files(pids)) == 1000
            parent.communicate()
            assert all(table.identify(pid, 3.0) is known[pid] for pid in pids)
            table.prune(3.5)
            assert held_files(pids) == []
            assert not any(table.facts(facts.key) for facts in known.values())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_process_when_the_threads_of_its_gpus_meet_it_at_once_then_it_is_one_process() -> None:
    """A process on eight GPUs is new to eight threads at the same moment."""
    with many(100) as (pids, _), ThreadPoolExecutor(8) as pool:
        table = HostProcesses(ours)
        meeting = threading.Barrier(8)

        def meet(_: int) -> list[ProcessKey]:
            meeting.wait(30)
            return [table.identify(pid, 1.0).key for pid in pids]

        first, *others = pool.map(meet, range(8))
        assert all(keys == first for keys in others)
        assert [table.identify(pid, 1000.0).key for pid in pids] == first
        table.prune(500.0)
        assert all(table.facts(key) for key in first)
        assert len(held_files(pids)) == len(pids)
