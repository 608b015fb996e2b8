"""Jobs of a real Slurm: what the agent finds out about them by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpuledger_agent.attribution.base import Kind, Workload, WorkloadRef
from gpuledger_agent.attribution.cgroup import refs
from gpuledger_agent.attribution.slurm import SlurmSource
from tests.runtimes import slurm
from tests.runtimes.slurm import Slurm
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with slurm.running(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def cluster(daemons: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    monkeypatch.setenv("SLURM_CONF", str(daemons.configuration))
    yield daemons
    daemons.cancel_all()


@pytest.fixture
def without_scontrol(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Takes scontrol off PATH."""
    return lambda: monkeypatch.setenv("PATH", str(tmp_path))


def source() -> SlurmSource:
    return SlurmSource(lambda name: name.startswith("GPULEDGER_"))


def wait_for(job: str) -> Workload:
    """The job as an agent sees it that starts once the job's own program runs."""
    seen: list[Workload] = []

    def runs() -> bool:
        seen[:] = [workload for workload in source().workloads() if workload.id == job]
        return bool(seen) and "GPULEDGER_MARK" in seen[0].environ

    wait_until(runs)
    return seen[0]


def submit(cluster: Slurm, *options: str) -> str:
    return cluster.submit(*options, script="GPULEDGER_MARK=1 SECRET=x exec env sleep 1000000")


def test_job_when_it_runs_then_it_is_known_by_what_slurm_says(cluster: Slurm) -> None:
    options = ("--account=search", "--job-name=my job", "--comment=hi", "--gres=gpu:a100:2")
    job = submit(cluster, *options)
    assert wait_for(job) == Workload(
        kind=Kind.SLURM_JOB,
        id=job,
        name=job,
        labels={
            "slurm/account": "search",
            "slurm/job-name": "my job",
            "slurm/partition": "batch",
            "slurm/user": "root",
        },
        user="root",
        environ={"GPULEDGER_MARK": "1"},
        devices=("0", "1"),
    )


def test_job_when_others_have_the_first_gpus_then_its_own_are_told(
    cluster: Slurm, without_scontrol: Callable[[], None]
) -> None:
    submit(cluster, "--gres=gpu:1")
    wait_until(lambda: "R" in cluster.run("squeue", "--noheader", "--format=%t"))
    job = submit(cluster, "--gres=gpu:2")
    assert wait_for(job).devices == ("1", "2")
    without_scontrol()
    assert wait_for(job).devices == ("1", "2")


def test_job_when_there_is_no_scontrol_then_its_environment_tells(
    cluster: Slurm, without_scontrol: Callable[[], None]
) -> None:
    job = submit(cluster, "--account=search", "--job-name=my job", "--gres=gpu:1")
    told = wait_for(job)
    without_scontrol()
    assert wait_for(job) == told


def test_job_when_its_environment_lies_then_scontrol_is_believed(
    cluster: Slurm, without_scontrol: Callable[[], None]
) -> None:
    lies = (
        "export SLURM_JOB_ACCOUNT=evil SLURM_JOB_GPUS=0,1,2,3; GPULEDGER_MARK=1 exec env sleep 9999"
    )
    job = cluster.submit("--account=search", "--gres=gpu:1", script=lies)
    told = wait_for(job)
    assert (told.labels["slurm/account"], told.devices) == ("search", ("0",))
    without_scontrol()
    claimed = wait_for(job)
    assert (claimed.labels["slurm/account"], claimed.devices) == ("evil", ("0", "1", "2", "3"))


def test_job_when_its_name_holds_another_record_then_neither_account_is_believed(
    cluster: Slurm,
) -> None:
    name = "x UserId=ann(5) GroupId=a(5) Nice=0 Account=evil QOS=q"
    jobs = [
        submit(cluster, "--account=search", f"--job-name={name}"),
        submit(cluster, "--account=search", f"--job-name={name}\nJobId=1 JobName=z"),
    ]
    for job in jobs:
        labels = wait_for(job).labels
        assert labels.keys() <= {"slurm/partition"}


def test_job_when_it_is_the_first_of_an_array_then_it_is_told_from_the_others(
    cluster: Slurm,
) -> None:
    array = submit(cluster, "--array=0-2", "--gres=gpu:1", "--account=search")
    found = source()
    wait_until(lambda: len(found.workloads()) == 3)
    for job in (array, *(str(int(array) + n) for n in (1, 2))):
        assert wait_for(job).labels["slurm/account"] == "search"
    devices = [workload.devices for workload in found.workloads()]
    assert sorted(devices) == [("0",), ("1",), ("2",)]


def test_job_when_it_shares_a_gpu_then_its_share_is_its_shards(cluster: Slurm) -> None:
    job = submit(cluster, "--gres=shard:2")
    told = wait_for(job)
    assert (len(told.devices), told.share) == (1, 0.5)


def test_job_when_a_process_lies_in_it_then_its_cgroup_leads_there(cluster: Slurm) -> None:
    job = submit(cluster, "--account=search")
    known = wait_for(job)
    batch = next(Path("/sys/fs/cgroup").glob(f"*/slurm_{cluster.node}/uid_0/job_{job}/step_batch"))
    pid = (batch / "cgroup.procs").read_text().split()[0]
    ref = refs(Path(f"/proc/{pid}/cgroup").read_text())[0]
    assert ref == WorkloadRef(Kind.SLURM_JOB, job, "slurm")
    assert source().workload(ref) == known


def test_job_when_it_just_ended_then_slurm_still_knows_it_but_no_gpus(cluster: Slurm) -> None:
    job = submit(cluster, "--account=search", "--gres=gpu:1")
    wait_for(job)
    found = source()
    assert len(found.workloads()) == 1
    cluster.cancel_all()
    wait_until(lambda: not found.workloads())
    ended = found.workload(WorkloadRef(Kind.SLURM_JOB, job))
    assert ended is not None
    assert (ended.labels["slurm/account"], ended.devices) == ("search", ())


def test_job_when_slurm_never_had_it_then_it_is_unknown(cluster: Slurm) -> None:
    assert cluster.node
    for ref in (
        WorkloadRef(Kind.SLURM_JOB, "4000000"),
        WorkloadRef(Kind.SLURM_JOB, "--help"),
        WorkloadRef(Kind.CONTAINER, "1"),
    ):
        assert source().workload(ref) is None
