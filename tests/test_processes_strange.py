"""Pids of other namespaces, pids in use again, and files that no kernel would write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuledger_agent.processes import HostProcesses
from gpuledger_agent.records import ProcessKey

IN_A_NAMESPACE = """
import json, sys, time
from gpuledger_agent.processes import HostProcesses
from tests.live_processes import end, held_files, running

table = HostProcesses(lambda name: name == "GPULEDGER_TEAM")
with running({b"GPULEDGER_TEAM": b"first"}) as first:
    seen = [table.identify(first.pid, 1.0)]
begun = int(time.clock_gettime(time.CLOCK_BOOTTIME))
while int(time.clock_gettime(time.CLOCK_BOOTTIME)) == begun:
    time.sleep(0.01)  # keys tell starts apart by the second
with open("/proc/sys/kernel/ns_last_pid", "w") as last:
    last.write(str(first.pid - 1))
with running({b"GPULEDGER_TEAM": b"second"}) as second:
    seen += [table.identify(second.pid, 2.0), table.identify(second.pid, 3.0)]
    seen.append(table.facts(seen[0].key))
    table.prune(1.5)
    kept = [table.facts(facts.key) is not None for facts in seen[:2]]
    files = len(held_files([second.pid]))
print(json.dumps([[f.key.pid, f.key.start, f.environ["GPULEDGER_TEAM"]] for f in seen]))
print(json.dumps([kept, files, table.identify(int(sys.argv[1]), 1.0).visible]))
"""


@pytest.fixture(scope="module")
def namespace() -> list[str]:
    """Command that runs another in a PID namespace of its own, with a /proc of its own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets us make no PID namespace")
    return command


def test_pid_when_in_use_again_then_it_is_another_process(namespace: list[str]) -> None:
    """In a namespace of their own, where the next pid can be chosen."""
    done = subprocess.run(
        [*namespace, sys.executable, "-c", IN_A_NAMESPACE, str(os.getpid())],
        check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    seen, (kept, files, outside_is_visible) = map(json.loads, done.stdout.splitlines())
    first, second, again, remembered = seen
    assert first[0] == second[0]
    assert second[1] > first[1]
    assert (first[2], second[2]) == ("first", "second")
    assert again == second
    assert remembered == first, "the dead one is known until it is pruned"
    assert kept == [False, True]
    assert files == 1
    assert not outside_is_visible, "we are not to be seen from inside"


def tree(root: Path, pid: int, stat: bytes, environ: bytes = b"", cgroup: bytes = b"") -> Path:
    """A proc file system as far as it is looked at, booted at the second 1,000."""
    home = root / str(pid)
    home.mkdir(parents=True, exist_ok=True)
    (root / "stat").write_text("cpu 1 2 3\nbtime 1000\nprocesses 7\n")
    (home / "comm").write_text("x\n")
    for name, content in (("stat", stat), ("environ", environ), ("cgroup", cgroup)):
        (home / name).write_bytes(content)
    return root


def stat_of(name: bytes, start_ticks: int) -> bytes:
    before = b" ".join(b"%d" % n for n in range(4, 22))
    return b"7 (" + name + b") S " + before + b" %d 23 24 25\n" % start_ticks


@given(st.binary(max_size=15), st.integers(0, 10**12))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_name_whatever_it_holds_then_the_start_is_found_behind_it(
    tmp_path: Path, name: bytes, start_ticks: int
) -> None:
    """A copy of /proc, since the kernel ends names at a NUL and at 15 bytes."""
    table = HostProcesses(bool, tree(tmp_path, 7, stat_of(name, start_ticks)))
    facts = table.identify(7, 1.0)
    assert facts.name == name.decode("utf-8", "replace")
    assert facts.started == pytest.approx(1000 + start_ticks / os.sysconf("SC_CLK_TCK"))
    assert facts.key == ProcessKey(7, int(facts.started))


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=200))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_whatever_they_hold_then_something_is_said_and_nothing_raised(
    tmp_path: Path, stat: bytes, environ: bytes, cgroup: bytes
) -> None:
    root = tree(tmp_path, 7, stat, environ, cgroup)
    facts = HostProcesses(bool, root).identify(7, 1.0)
    assert facts.key.pid == 7
    tree(tmp_path, 7, stat_of(b"p", 0), environ, cgroup)
    facts = HostProcesses(bool, root).identify(7, 1.0)
    assert facts.visible
    assert facts.cgroup == cgroup.decode("utf-8", "replace")
    variables = environ.decode("utf-8", "replace").split("\0")
    assert all(f"{name}={value}" in variables for name, value in facts.environ.items())


def test_boot_when_proc_does_not_tell_it_then_starts_count_from_the_epoch(tmp_path: Path) -> None:
    root = tree(tmp_path, 7, stat_of(b"p", 500))
    (root / "stat").unlink()
    started = HostProcesses(bool, root).identify(7, 1.0).started
    assert started == 500 / os.sysconf("SC_CLK_TCK")
