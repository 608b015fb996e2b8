"""What `scontrol show job --details --oneliner` says of one job, as far as it can be believed.

Its line mixes what Slurm decided (account, GPUs) with what the user wrote (job name, comment,
command, working directory), unescaped: a job named "x Account=other" prints as if it had another
account, a name may even hold newlines. Slurm prints each key once. So a key that is there twice is
not believed, and neither is a text with two jobs in it.

Forms are those of Slurm's src/api/job_info.c and src/common/gres.c from 17.02 to 25.05:

    JobId=7 ArrayJobId=6 ArrayTaskId=0 JobName=train UserId=ann(1000) ... Account=search ...
    Nodes=n[1-2] CPU_IDs=0-3 Mem=0 GRES=gpu:a100:2(IDX:0-1)   GPUs 0 and 1 (until 19.05 GRES_IDX)
    Nodes=n1 CPU_IDs=0 Mem=0 GRES=shard:2(0/4,2/4)            2 of the 4 shards of GPU 1
    Nodes=n1 CPU_IDs=0 Mem=0 GRES=shard:2(IDX:1)              the same, until 22.05
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gpuledger_agent.attribution.slurm_hostlist import MAX_NUMBERS, contains, numbers


@dataclass(frozen=True, slots=True)
class Devices:
    """GPUs of a job on one node, by index, and the part of each that it may use.

    Where Slurm told how many pieces (`shard` or `mps`, named in `kind`) the job has of these GPUs,
    but not of how many, `pieces` is that number and `share` is 1.
    """

    node: str = ""
    indices: tuple[int, ...] = ()
    share: float = 1.0
    kind: str = "gpu"
    pieces: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """A job as Slurm knows it; empty strings for what it does not say, or not believably."""

    number: str = ""
    job_name: str = ""
    user: str = ""
    account: str = ""
    partition: str = ""
    qos: str = ""
    devices: Devices = Devices()


_HEAD = re.compile(r"^JobId=(\d{1,10})(?=\s)", re.ASCII | re.MULTILINE)

_GROUP = re.compile(
    r"^JobId=(?P<job>\d{1,10}) (?:ArrayJobId=(?P<array>\d{1,10}) ArrayTaskId=(?P<task>\d{1,10})"
    r"|HetJobId=(?P<het>\d{1,10}) HetJobOffset=(?P<offset>\d{1,10})) ",
    re.ASCII | re.MULTILINE,
)

_DETAILS = re.compile(r"\s(NtasksPerN:B:S:C|MinCPUsNode)=")
"""Keys before and after the lines per node."""

_NODES = re.compile(r"\sNodes=(\S+)\s+CPU_IDs=\S*\s+Mem=\S*\s+GRES(?:_IDX)?=(\S*)")

_GRES = re.compile(
    r"\b(?P<kind>gpu|mps|shard)(?::[^:,()]*)*?(?::(?P<count>\d{1,9}))?\((?P<detail>[^()]*)\)",
    re.ASCII,
)

MAX_GRES = 4_096
"""Characters of the GPUs of one node that are looked at."""

_PIECES = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)


def record(text: str, host: str) -> Record | None:
    """The one job of the text, and its GPUs on this node; None if it holds none, or several."""
    heads = _HEAD.findall(text)
    if len(heads) != 1:
        return None
    user = _said(text, "UserId")
    return Record(
        number=heads[0],
        job_name=text.partition(" JobName=")[2].partition(" UserId=")[0] if user else "",
        user=user.partition("(")[0],
        account=_said(text, "Account"),
        partition=_said(text, "Partition"),
        qos=_said(text, "QOS"),
        devices=_devices(_details(text), host),
    )


def alone(text: str, job: str) -> str | None:
    """How to ask for a job alone that was shown with others of its array or heterogeneous job.

    Asked for 6, scontrol shows all tasks of array 6. None if the text does not hold such a job.
    """
    for match in _GROUP.finditer(text):
        if match["job"] == job:
            if match["array"]:
                return f"{match['array']}_{match['task']}"
            return f"{match['het']}+{match['offset']}"
    return None


def pieces_per_gpu(text: str, kind: str) -> float:
    """Shards or MPS units of each GPU, by `scontrol show node --oneliner`; 0 if it does not say."""
    totals = {"gpu": 0, kind: 0}
    gres = _said(text, "Gres").replace("(null)", "")
    for part in re.sub(r"\([^()]*\)", "", gres).split(","):
        name, _, count = part.partition(":")
        number = count.rpartition(":")[2]
        if name in totals and number.isascii() and number.isdigit():
            totals[name] += int(number[:9])
    return totals[kind] / totals["gpu"] if totals["gpu"] else 0.0


def _said(text: str, key: str) -> str:
    """What follows a key, if the key is there once and Slurm has a value for it."""
    found = re.findall(rf"(?:^|\s){key}=(\S*)", text)
    return found[0] if len(found) == 1 and found[0] not in ("(null)", "N/A") else ""


def _details(text: str) -> str:
    """The lines per node, if what comes before and after them is there once."""
    keys = list(_DETAILS.finditer(text))
    if [key[1] for key in keys] != ["NtasksPerN:B:S:C", "MinCPUsNode"]:
        return ""
    return text[keys[0].end() : keys[1].start()]


def _devices(details: str, host: str) -> Devices:
    nodes = _NODES.findall(details)
    for hosts, gres in nodes:
        # A node may have another name than its host: a job of one node has no other.
        if contains(hosts, host):
            return _of_node(host, gres)
        if len(nodes) == 1 and not set("[,") & set(hosts):
            return _of_node(hosts, gres)
    return Devices()


def _of_node(node: str, gres: str) -> Devices:
    indices: set[int] = set()
    share, kind, pieces = 1.0, "gpu", 0
    for match in _GRES.finditer(gres[:MAX_GRES].replace("(null)", "")):
        detail = match["detail"]
        if detail.startswith("IDX:"):
            indices.update(numbers(detail[4:]))
            if match["kind"] != "gpu":
                kind, pieces = match["kind"], int(match["count"] or 0)
        else:
            parts = [(int(has), int(of)) for has, of in _PIECES.findall(detail)]
            held = {index: part for index, part in enumerate(parts) if 0 < part[0] <= part[1]}
            indices.update(held)
            if held:
                share = sum(has for has, _ in held.values()) / sum(of for _, of in held.values())
    return Devices(node, tuple(sorted(indices)[:MAX_NUMBERS]), share, kind, pieces)
