"""Slurm's cgroups in both versions, and what becomes of jobs when scontrol is absent or fails.

A script on PATH stands for scontrol; what it answers was recorded from Slurm 22.05.8.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuledger_agent.attribution import slurm_cgroups
from gpuledger_agent.attribution.base import (
    MAX_VALUE_BYTES,
    Kind,
    Workload,
    WorkloadRef,
)
from gpuledger_agent.attribution.labels import MAX_LABELS
from gpuledger_agent.attribution.slurm import SlurmSource
from tests.runtimes import scontrol_script
from tests.test_slurm_record import answer

V1 = "freezer/slurm/uid_1000/job_1/step_batch"
V2 = "system.slice/n1_slurmstepd.scope/job_1/step_0/user/task_0"

JOB = {
    "SLURM_JOB_ID": "1",
    "SLURM_JOB_ACCOUNT": "said",
    "SLURM_JOB_USER": "ann",
    "SLURM_JOB_QOS": "",
    "SLURM_JOB_GPUS": "2-3",
    "WANTED": "yes",
    "SECRET": "x",
}


@contextmanager
def process(environ: Mapping[str, str]) -> Iterator[int]:
    """A running process that was started with this environment."""
    command = [sys.executable, "-S", "-c", "print(flush=True); input()"]
    with subprocess.Popen(
        command, env=dict(environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            yield child.pid
        finally:
            child.kill()


def group(root: Path, path: str, *pids: int) -> Path:
    """A cgroup with these processes, below `root`."""
    made = root / path
    made.mkdir(parents=True, exist_ok=True)
    (made / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    return made


@pytest.fixture
def cgroups(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


@pytest.fixture
def source(cgroups: Path, no_scontrol: None) -> SlurmSource:  # noqa: ARG001
    return SlurmSource(lambda name: name == "WANTED", cgroups, host="n1")


@pytest.fixture
def no_scontrol(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")


@pytest.fixture
def command(no_scontrol: None, tmp_path: Path) -> Callable[[str], Path]:  # noqa: ARG001
    """Puts a shell script on PATH as scontrol."""

    def put(script: str) -> Path:
        return scontrol_script.put(tmp_path / "bin", script)

    return put


@pytest.mark.parametrize("path", [V1, V2, V2.replace("n1_", ""), V2.removeprefix("system.slice/")])
def test_job_when_slurm_made_its_cgroup_then_its_environment_is_read(
    source: SlurmSource, cgroups: Path, path: str
) -> None:
    with process(JOB) as pid:
        group(cgroups, path, os.getpid(), pid)
        (job,) = source.workloads()
    assert job == Workload(
        kind=Kind.SLURM_JOB,
        id="1",
        name="1",
        labels={"slurm/account": "said", "slurm/user": "ann"},
        user="ann",
        environ={"WANTED": "yes"},
        devices=("2", "3"),
    )


def test_job_when_named_by_its_sluid_then_it_has_its_number_from_its_environment(
    source: SlurmSource, cgroups: Path
) -> None:
    with process(JOB) as pid:
        group(cgroups, V2.replace("job_1", "sEKNKTV3WPV500"), pid)
        (job,) = source.workloads()
    assert (job.id, job.name) == ("sEKNKTV3WPV500", "1")


def test_job_when_it_holds_mig_instances_then_these_are_named(
    source: SlurmSource, cgroups: Path
) -> None:
    instances = "MIG-d9a47cfb-d1f2-d08c-b40e-0812b597ae69,MIG-02a89a59-4d9f-5b6f-9c1a-d3c1c43b0a5d"
    with process({**JOB, "CUDA_VISIBLE_DEVICES": instances}) as pid:
        group(cgroups, V1, pid)
        (job,) = source.workloads()
    assert job.devices == tuple(instances.split(","))
    assert job.counted == ("2", "3"), "in case the environment lies"


def test_job_when_its_processes_are_of_another_job_then_nothing_is_said_of_it(
    source: SlurmSource, cgroups: Path
) -> None:
    with process({**JOB, "SLURM_JOB_ID": "2"}) as pid:
        group(cgroups, V1, pid, 999_999_999)
        assert source.workloads() == [Workload(kind=Kind.SLURM_JOB, id="1", name="1")]


def test_job_when_it_does_not_let_itself_be_read_then_others_are_known(
    tmp_path: Path,
    no_scontrol: None,  # noqa: ARG001
) -> None:
    """A process can hold the lock of its own memory, and whoever reads it waits."""
    for pid, number in ((7, "1"), (8, "2")):
        (tmp_path / f"proc/{pid}").mkdir(parents=True)
        group(tmp_path, V1.replace("job_1", f"job_{number}"), pid)
    os.mkfifo(tmp_path / "proc/7/environ")
    (tmp_path / "proc/8/environ").write_bytes(b"SLURM_JOB_ID=2\0SLURM_JOB_USER=ann\0")
    source = SlurmSource(bool, tmp_path, tmp_path / "proc", host="n1")
    assert {job.id: job.user for job in source.workloads()} == {"1": "", "2": "ann"}


def test_environment_when_its_time_is_up_then_no_further_process_is_read(tmp_path: Path) -> None:
    step = group(tmp_path, V1, 7)
    (tmp_path / "7").mkdir()
    (tmp_path / "7/environ").write_bytes(b"SLURM_JOB_ID=1\0")
    for left, found in ((60.0, {"SLURM_JOB_ID": "1"}), (0.0, None)):
        until = time.monotonic() + left
        assert slurm_cgroups.environment("1", [step], tmp_path, bool, until) == found


def test_job_when_it_hides_its_environment_then_it_is_looked_for_after_all_others(
    source: SlurmSource, cgroups: Path
) -> None:
    """Time for all jobs is short: who wastes it must not be first each time."""
    group(cgroups, V1)
    assert len(source.workloads()) == 1
    group(cgroups, V1.replace("job_1", "job_2"))
    assert [job.id for job in source.workloads()] == ["2", "1"]


def test_job_when_a_user_made_its_cgroup_then_it_is_none(
    source: SlurmSource, cgroups: Path
) -> None:
    group(cgroups, V2)
    made = cgroups / V2.partition("/step")[0]
    os.chown(made, 1000, 1000)
    assert source.workloads() == []
    assert source.workload(WorkloadRef(Kind.SLURM_JOB, "1")) is None


def test_job_when_its_cgroup_is_gone_then_so_is_what_was_known(
    source: SlurmSource, cgroups: Path
) -> None:
    with process(JOB) as pid:
        step = group(cgroups, V1, pid)
        assert len(source.workloads()) == 1
        (step / "cgroup.procs").unlink()
        step.rmdir()
        step.parent.rmdir()
    assert source.workloads() == []
    with process({**JOB, "SLURM_JOB_ACCOUNT": "later"}) as pid:
        group(cgroups, V1, pid)
        assert source.workloads()[0].labels["slurm/account"] == "later"


def test_source_when_there_is_nothing_of_slurm_then_it_is_absent(
    source: SlurmSource, cgroups: Path, command: Callable[[str], Path]
) -> None:
    assert not source.present()
    assert source.workloads() == []
    group(cgroups, "system.slice/slurmstepd.scope")
    assert source.present()
    command("exit 1")
    assert SlurmSource(lambda _: False, cgroups / "none").present()


def test_job_when_scontrol_fails_then_its_environment_tells_and_slurmctld_is_left_alone(
    source: SlurmSource,
    cgroups: Path,
    command: Callable[[str], Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = tmp_path / "asked"
    command(f"echo >>{asked}; exit 1")
    with process(JOB) as pid, caplog.at_level(logging.WARNING):
        group(cgroups, V1, pid)
        group(cgroups, V1.replace("job_1", "job_2"))
        for _ in range(3):
            assert source.workloads()[0].labels["slurm/account"] == "said"
    assert asked.read_text() == "\n"
    assert [record.message.split()[0] for record in caplog.records] == ["event=scontrol_fails"]


def test_job_when_scontrol_answers_then_it_is_asked_once_in_the_life_of_the_job(
    source: SlurmSource, cgroups: Path, command: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "answer").write_text(answer())
    command(f"echo >>{tmp_path}/asked; cat {tmp_path}/answer".replace("cat", "/bin/cat"))
    group(cgroups, V1)
    for _ in range(3):
        (job,) = source.workloads()
        assert (job.labels["slurm/account"], job.devices) == ("search", ("0", "1"))
    assert (tmp_path / "asked").read_text() == "\n"


def test_job_when_scontrol_answers_of_another_job_then_it_is_not_believed(
    source: SlurmSource, cgroups: Path, command: Callable[[str], Path], tmp_path: Path
) -> None:
    """A user can write a sibling into a job's name, for whom the agent then asks."""
    siblings = answer() + answer().replace("JobId=1 ", "JobId=7 ArrayJobId=1 ArrayTaskId=0 ", 1)
    (tmp_path / "7").write_text(siblings)
    (tmp_path / "1_0").write_text(answer())
    command(f'/bin/cat "{tmp_path}/$5"')
    group(cgroups, V1.replace("job_1", "job_7"))
    assert source.workloads() == [Workload(kind=Kind.SLURM_JOB, id="7", name="7")]


def test_job_when_slurm_forgot_it_then_its_environment_tells(
    source: SlurmSource, cgroups: Path, command: Callable[[str], Path]
) -> None:
    command("echo slurm_load_jobs error: Invalid job id specified >&2; exit 1")
    with process(JOB) as pid:
        group(cgroups, V1, pid)
        assert source.workloads()[0].labels["slurm/account"] == "said"
    assert source.workload(WorkloadRef(Kind.SLURM_JOB, "7")) is None


def test_jobs_when_scontrol_hangs_then_all_of_them_take_one_query(
    source: SlurmSource, cgroups: Path, command: Callable[[str], Path], tmp_path: Path
) -> None:
    command(f"echo >>{tmp_path}/asked; exec /bin/sleep 1000000")
    for job in range(50):
        group(cgroups, V1.replace("job_1", f"job_{job}"))
    assert len(source.workloads()) == 50
    assert (tmp_path / "asked").read_text() == "\n"


@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(said=st.binary(max_size=2_000), code=st.integers(0, 255))
def test_job_when_scontrol_says_any_bytes_then_it_is_still_listed(
    cgroups: Path, command: Callable[[str], Path], tmp_path: Path, said: bytes, code: int
) -> None:
    (tmp_path / "said").write_bytes(said)
    command(f"/bin/cat {tmp_path}/said; exit {code}")
    group(cgroups, V1)
    (job,) = SlurmSource(lambda _: True, cgroups, host="n1").workloads()
    assert (job.id, job.devices) == ("1", ())


names = st.sampled_from([*JOB, "CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS"]) | st.text(max_size=20)
values = st.text(max_size=50) | st.sampled_from(["1", "0-999999999", "x" * (MAX_VALUE_BYTES + 1)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, values), st.binary(max_size=200))
@pytest.mark.usefixtures("no_scontrol")
def test_job_when_its_environment_is_anything_then_what_is_kept_of_it_is_bounded(
    tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str], more: bytes
) -> None:
    root = tmp_path_factory.mktemp("job")
    (root / "7").mkdir()
    pairs = [f"{name}={value}".encode("utf-8", "surrogatepass") for name, value in environ.items()]
    (root / "7/environ").write_bytes(b"\0".join([*pairs, b"SLURM_JOB_ID=1", more]))
    group(root, V1, 7)
    (job,) = SlurmSource(lambda _: True, root, root, host="n1").workloads()
    assert len(job.environ) <= MAX_LABELS
    kept = [*job.environ.values(), *job.labels.values(), job.user, *job.devices]
    assert all(len(value.encode()) <= MAX_VALUE_BYTES for value in kept)
    assert len(job.devices) <= 1_025


def test_jobs_when_there_are_too_many_then_the_rest_is_not_looked_at(
    cgroups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_cgroups, "MAX_WORKLOADS", 3)
    for job in range(5):
        group(cgroups, f"freezer/slurm/uid_0/job_{job}")
        group(cgroups, f"devices/slurm/uid_0/job_{job}")
    found = slurm_cgroups.jobs(cgroups)
    assert len(found) == 3
    assert all(len(groups) == 2 for groups in found.values())
