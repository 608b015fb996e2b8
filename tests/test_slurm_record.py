"""What scontrol says of a job: recorded answers, and users who write into them.

The answers are those of Slurm 22.05.8, or that with the one part which other versions print
otherwise (src/api/job_info.c and src/common/gres.c of Slurm).
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpuledger_agent.attribution import slurm_hostlist
from gpuledger_agent.attribution.slurm_record import (
    Devices,
    Record,
    alone,
    pieces_per_gpu,
    record,
)

ANSWER = (
    "JobId=1{group} JobName={name} UserId=ann(1000) GroupId=ann(1000) MCS_label=N/A "
    "Priority=4294901759 Nice=0 Account={account} QOS={qos} JobState=RUNNING Reason=None "
    "Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0 DerivedExitCode=0:0 "
    "RunTime=00:00:02 TimeLimit=UNLIMITED TimeMin=N/A SubmitTime=2026-11-24T22:29:08 "
    "EligibleTime=2026-11-24T22:29:08 AccrueTime=2026-11-24T22:29:08 "
    "StartTime=2026-11-24T22:29:08 EndTime=Unknown Deadline=N/A SuspendTime=None SecsPreSuspend=0 "
    "LastSchedEval=2026-11-24T22:29:08 Scheduler=Main Partition=batch AllocNode:Sid=localhost:1668 "
    "ReqNodeList=(null) ExcNodeList=(null) NodeList=n[1-2] BatchHost=n1 NumNodes=2 NumCPUs=2 "
    "NumTasks=1 CPUs/Task=1 ReqB:S:C:T=0:0:*:* TRES=cpu=1,node=1,billing=1 Socks/Node=* "
    "NtasksPerN:B:S:C=0:0:*:* CoreSpec=* JOB_GRES=gpu:a100:2   {nodes} MinCPUsNode=1 "
    "MinMemoryNode=0 MinTmpDiskNode=0 Features=(null) DelayBoot=00:00:00 OverSubscribe=OK "
    "Contiguous=0 Licenses=(null) Network=(null) Command=/home/ann/train.sh WorkDir=/home/ann "
    "Comment={comment} StdErr=/home/ann/o.1 StdIn=/dev/null StdOut=/home/ann/o.1 Power= "
    "TresPerNode=gres:gpu:2 \n"
)


def answer(
    name: str = "train",
    account: str = "search",
    gres: str = "gpu:a100:2(IDX:0-1)",
    nodes: str = "",
    comment: str = "hi there",
    group: str = "",
) -> str:
    nodes = nodes or f"Nodes=n1 CPU_IDs=0 Mem=0 GRES={gres}"
    return ANSWER.format(
        name=name, account=account, qos="high", nodes=nodes, comment=comment, group=group
    )


def gpus(text: str, host: str = "n1") -> Devices:
    found = record(text, host)
    assert found is not None
    return found.devices


def test_record_when_slurm_tells_all_then_all_is_there() -> None:
    assert record(answer(name="my job"), "n1") == Record(
        number="1",
        job_name="my job",
        user="ann",
        account="search",
        partition="batch",
        qos="high",
        devices=Devices("n1", (0, 1)),
    )


def test_record_when_slurm_has_no_value_then_it_is_empty() -> None:
    found = record(answer(account="(null)"), "n1")
    assert found is not None
    assert found.account == ""


@pytest.mark.parametrize(
    ("gres", "indices", "share"),
    [
        ("gpu:2(IDX:0-1)", (0, 1), 1.0),
        ("gpu:a100:3(IDX:0,2-3)", (0, 2, 3), 1.0),
        ("gpu:1g.10gb:2(IDX:4-5)", (4, 5), 1.0),
        ("gpu:a100:1(IDX:0),gpu:v100:1(IDX:3)", (0, 3), 1.0),
        ("gpu:(null):2(IDX:1-2)", (1, 2), 1.0),
        ("vgpu:1(IDX:7),nic:1(IDX:5),gpu:1(IDX:2)", (2,), 1.0),
        ("shard:a100:2(0/4,0/4,2/4,0/4)", (2,), 0.5),
        ("mps:150(100/100,50/100)", (0, 1), 0.75),
        ("gpu:a100(CNT:4)", (), 1.0),
        ("gpu:a100:0(IDX:N/A)", (), 1.0),
        ("", (), 1.0),
    ],
)
def test_devices_when_slurm_prints_them_in_its_ways_then_they_are_indices(
    gres: str, indices: tuple[int, ...], share: float
) -> None:
    devices = gpus(answer(gres=gres))
    assert (devices.indices, devices.share) == (indices, share)


def test_devices_when_pieces_come_without_their_whole_then_they_are_counted() -> None:
    assert gpus(answer(gres="shard:2(IDX:2)")) == Devices("n1", (2,), 1.0, "shard", 2)


def test_devices_when_slurm_is_old_then_they_are_found() -> None:
    nodes = "Nodes=n1 CPU_IDs=0-3 Mem=0 GRES_IDX=gpu:a100(IDX:0-1)"
    assert gpus(answer(nodes=nodes)).indices == (0, 1)


def test_devices_when_a_job_has_many_nodes_then_only_those_of_this_host_count() -> None:
    nodes = (
        "Nodes=n[1-2] CPU_IDs=0 Mem=0 GRES=gpu:2(IDX:0-1)   "
        "Nodes=n3 CPU_IDs=0 Mem=0 GRES=gpu:1(IDX:3)"
    )
    on = {host: gpus(answer(nodes=nodes), host).indices for host in ("n2", "n3", "n4", "n12")}
    assert on == {"n2": (0, 1), "n3": (3,), "n4": (), "n12": ()}


def test_devices_when_the_only_node_has_another_name_than_the_host_then_it_is_ours() -> None:
    assert gpus(answer(), "vm") == Devices("n1", (0, 1))


FAKE = "x UserId=eve(0) GroupId=e(0) Account=evil QOS=q Partition=p NtasksPerN:B:S:C=0:0:*:* "
NODES = "Nodes=n1 CPU_IDs=0 Mem=0 GRES=gpu:8(IDX:0-7) MinCPUsNode=1"


@pytest.mark.parametrize("where", ["name", "comment"])
def test_record_when_a_user_writes_fields_then_neither_theirs_nor_the_true_ones_are_believed(
    where: str,
) -> None:
    found = record(answer(**{where: FAKE + NODES}), "n1")
    assert found is not None
    assert (found.user, found.account, found.partition, found.qos) == ("", "", "", "")
    assert found.devices == Devices()


def test_record_when_a_user_writes_a_second_job_into_a_name_then_there_is_none() -> None:
    assert record(answer(name=f"{FAKE}{NODES}\nJobId=9 JobName=z"), "n1") is None


def test_devices_when_a_user_writes_nodes_outside_of_slurms_place_then_these_do_not_count() -> None:
    text = answer(name="x Nodes=n1 CPU_IDs=0 Mem=0 GRES=gpu:8(IDX:0-7)", comment=NODES[:-14])
    assert gpus(text).indices == (0, 1)


@pytest.mark.parametrize(
    ("group", "question"),
    [
        (" ArrayJobId=1 ArrayTaskId=4", "1_4"),
        (" HetJobId=1 HetJobOffset=0", "1+0"),
        ("", None),
    ],
)
def test_alone_when_a_job_is_shown_with_its_siblings_then_it_can_be_asked_for(
    group: str, question: str | None
) -> None:
    text = answer(group=group).replace("JobId=1 ", "JobId=2 ", 1) + answer(group=group)
    assert record(text, "n1") is None
    assert alone(text, "1") == question


@pytest.mark.parametrize(
    ("gres", "kind", "each"),
    [
        ("gpu:a100:4,shard:a100:16", "shard", 4.0),
        ("gpu:a100:2(S:0-1),gpu:v100:2(S:0),mps:400", "mps", 100.0),
        ("gpu:(null):4,shard:4", "shard", 1.0),
        ("gpu:4", "shard", 0.0),
        ("(null)", "shard", 0.0),
    ],
)
def test_pieces_when_a_node_tells_of_its_gpus_then_each_has_its_part(
    gres: str, kind: str, each: float
) -> None:
    node = f"NodeName=n1 Arch=x86_64 ActiveFeatures=(null) Gres={gres} NodeAddr=127.0.0.1 \n"
    assert pieces_per_gpu(node, kind) == each


@pytest.mark.parametrize(
    ("hostlist", "host", "is_in"),
    [
        ("n1", "n1", True),
        ("n1", "n12", False),
        ("n[1-4,7],login1", "n7", True),
        ("n[1-4,7],login1", "login1", True),
        ("n[1-4,7]", "n5", False),
        ("n[08-10]", "n09", True),
        ("n[08-10]", "n9", False),
        ("n[1-10]", "n05", False),
        ("rack[0-1]n[00-15]-ib", "rack1n07-ib", True),
        ("rack[0-1]n[00-15]-ib", "rack2n07-ib", False),
        ("n[1-2][3-4]", "n23", True),
        ("n[1-4", "n1", False),
        ("", "n1", False),
    ],
)
def test_hostlist_when_it_is_slurms_short_form_then_hosts_are_in_it_or_not(
    hostlist: str, host: str, is_in: bool
) -> None:
    assert slurm_hostlist.contains(hostlist, host) is is_in


@given(st.sets(st.integers(0, 300), min_size=1))
def test_numbers_when_written_as_ranges_then_they_are_these(expected: set[int]) -> None:
    ordered = sorted(expected)
    ranges = [
        f"{n}-{max(m for m in ordered if set(range(n, m + 1)) <= expected)}"
        for n in ordered
        if n - 1 not in expected
    ]
    assert slurm_hostlist.numbers(",".join(ranges)) == ordered


def test_numbers_when_a_range_has_no_end_in_sight_then_they_end() -> None:
    assert len(slurm_hostlist.numbers("0-999999999")) == slurm_hostlist.MAX_NUMBERS


pieces = st.sampled_from(
    ["JobId=1 ", "JobName=", " UserId=a(1)", " Account=a", " NtasksPerN:B:S:C=0", "\nNodes=n[1-",
     "] CPU_IDs=0 Mem=0 GRES=gpu:2(IDX:0-1)", " MinCPUsNode=1", "shard:2(1/4,", "ArrayJobId=1 "]
)  # fmt: skip


@given(st.lists(pieces | st.text(max_size=20), max_size=20).map("".join), st.text(max_size=20))
@example(answer(), "n1")
def test_record_when_the_answer_is_any_text_then_nothing_is_raised_and_gpus_are_few(
    text: str, host: str
) -> None:
    found = record(text, host)
    alone(text, "1")
    pieces_per_gpu(text, "shard")
    if found is not None:
        assert len(found.devices.indices) <= slurm_hostlist.MAX_NUMBERS
        assert 0 < found.devices.share <= 1


@given(st.text(max_size=60), st.text(max_size=60))
def test_record_when_names_and_comments_are_any_text_then_the_account_is_the_true_one_or_none(
    name: str, comment: str
) -> None:
    found = record(answer(name=name, comment=comment), "n1")
    assert found is None or found.account in ("search", "")
